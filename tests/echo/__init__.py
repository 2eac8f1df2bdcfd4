"""Echo's database: its migrations, seeds and schema files, and what the presence functions promise."""
