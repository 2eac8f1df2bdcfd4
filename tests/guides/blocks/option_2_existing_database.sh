# 1. Check current migration status
make db-migrate-status

# 2. Apply new migrations (will only apply unapplied ones)
make db-migrate

# This will add the presence schema while keeping existing data intact
