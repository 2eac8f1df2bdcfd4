# Connect to database
make db-connect

# Manually load presence schema
\i /database/schemas/presence-schema.sql  # If you create it

# Or apply the migration file directly
\i /migrations/postgres/000002_add_presence_schema.up.sql
