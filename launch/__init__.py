"""Command-line entry points: argument handling only, the logic lives in `pipeline` and `data_prep`."""
