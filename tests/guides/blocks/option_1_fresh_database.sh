# 1. Start services
make up

# 2. Initialize database with all schemas
make db-init

# 3. Apply migrations (including presence schema)
make db-migrate

# 4. Seed test data
make db-seed

# 5. Verify
make db-migrate-status
