# Check if down migration file exists
ls migrations/postgres/*down.sql

# Manually apply rollback
make db-connect
\i migrations/postgres/000002_add_presence_schema.down.sql
