"""What a corpus shares with evaluation sets: GPT-2's 8-gram overlap table, GPT-3's 13-gram decontamination.

Both look for the n-grams of the evaluation sets in the corpus, not the other way round: memory is bounded by the
evaluation sets, and files of documents are tasks of their own.
"""
