"""Several runs at the same instant, and runs that are killed while others wait: each migration is applied once."""
