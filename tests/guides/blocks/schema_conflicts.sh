# Check what's currently in the database
make db-connect
\dt presence.*

# Either drop manually or use rollback
DROP SCHEMA IF EXISTS presence CASCADE;

# Then re-apply
make db-migrate
