"""The training loop, its engine and its schedules."""
