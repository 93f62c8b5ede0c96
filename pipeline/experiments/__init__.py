"""Experiments: runs that differ in a few settings, each with several seeds, and what comes out of them."""
