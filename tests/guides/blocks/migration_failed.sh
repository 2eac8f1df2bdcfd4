# Check what went wrong
make db-migrate-status

# View PostgreSQL logs
docker logs echo-postgres

# Manually fix the issue in the database
make db-connect

# Force re-apply the migration
cd infra/scripts
./run-migrations.sh force <version>
