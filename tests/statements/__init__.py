"""SQL text, split and looked at."""
