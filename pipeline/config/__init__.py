"""Configuration of training runs: schema, loading, the DeepSpeed block."""
