"""What is read at which sample, and reading it."""
