"""Compares the runs of one MLflow experiment: tables, plots and one self-contained page."""
