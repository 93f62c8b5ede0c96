"""Memorised or reasoned: what evaluation sets and generated text share with the training corpus."""
