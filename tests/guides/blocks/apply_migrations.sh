# Apply all pending migrations
make db-migrate

# Or use the script directly
cd infra/scripts
./run-migrations.sh up
