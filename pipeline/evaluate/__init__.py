"""Held-out perplexity and multiple choice."""
