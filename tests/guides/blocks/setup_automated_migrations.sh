# In CI/CD pipeline
./infra/scripts/run-migrations.sh up

# Then deploy new code
docker-compose -f docker-compose.prod.yml up -d
