"""From token shards to pretrained, fine-tuned and evaluated models."""
