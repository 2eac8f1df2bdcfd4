# Force re-apply a specific migration (useful for testing)
cd infra/scripts
./run-migrations.sh force 2
