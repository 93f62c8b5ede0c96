"""Fine-tuning as in GPT-1."""
