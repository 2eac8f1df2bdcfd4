# Show which migrations are applied
make db-migrate-status

# Example output:
# ✓ 000001_init_schema.up.sql (applied)
# ✓ 000002_add_presence_schema.up.sql (applied)
# ○ 000003_add_indexes.up.sql (pending)
