# Navigate to migrations directory
cd migrations/postgres

# Create up migration
cat > 000003_your_migration_name.up.sql << 'EOF'
-- Your SQL changes here
ALTER TABLE users.profiles ADD COLUMN last_active_at TIMESTAMPTZ;

-- Track the migration
INSERT INTO schema_migrations (version, description)
VALUES (3, 'Add last_active_at to profiles')
ON CONFLICT (version) DO NOTHING;
EOF

# Create down migration (rollback)
cat > 000003_your_migration_name.down.sql << 'EOF'
-- Reverse your changes
ALTER TABLE users.profiles DROP COLUMN last_active_at;

-- Remove migration tracking
DELETE FROM schema_migrations WHERE version = 3;
EOF
