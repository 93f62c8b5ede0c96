"""Fixed features with a small model on top, beside fine-tuning."""
