"""Labelled tasks: which are known, where their files lie, how a row becomes an example."""
