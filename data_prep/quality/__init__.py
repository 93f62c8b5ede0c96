"""GPT-3's quality filter (Brown et al. 2020, 2.2 and appendix A): how much a document resembles a set of good ones."""
