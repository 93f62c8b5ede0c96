"""Rules over single documents, one file each: what to remove, what to change, and why."""
