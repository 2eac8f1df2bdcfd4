"""PostgreSQL migrations in plain SQL."""
