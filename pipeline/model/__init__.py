"""The GPT family as one ordered list of layers."""
