"""The exploratory analysis of a corpus: measured in one pass, shown as one self-contained HTML page."""
