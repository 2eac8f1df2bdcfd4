# Apply the migration
make db-migrate

# Verify it worked
make db-connect
# Run \d users.profiles to see the new column

# Test rollback
make db-migrate-down

# Verify rollback worked
make db-connect
# Run \d users.profiles to confirm column is gone

# Re-apply
make db-migrate
