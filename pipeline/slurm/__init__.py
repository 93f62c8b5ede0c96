"""Training and the whole chain as Slurm jobs."""
