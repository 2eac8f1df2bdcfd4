# Rollback the last migration
make db-migrate-down

# Or rollback all migrations to a specific version
cd infra/scripts
./run-migrations.sh down 1  # Rollback to version 1
