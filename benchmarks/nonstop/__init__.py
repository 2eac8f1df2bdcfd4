"""What a schema change does to an application that uses the table: `python -m benchmarks.nonstop`."""
