"""Speed and memory of whimbrel beside psql's, measured side by side in one run: `python -m benchmarks`."""
