# Needs python3 (3.11 or newer) and make; everything else is installed into this checkout.
# Another Python: `make PYTHON=python3.13 …`.

PYTHON  ?= python3
# Test processes at once. `logical` counts hyperthreads, too.
JOBS    ?= logical
BIN     := .venv/bin
# `make lock UPGRADE=1` takes the newest versions; without it, what is pinned stays pinned.
UPGRADE ?=

# Where it is set, each of the many servers that the tests start would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo check static test bench soak audit sbom reference docs lock format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Install everything into .venv and .environments (fast when nothing changed)
	@$(PYTHON) scripts/setup.py

demo: setup ## See what it does: documented examples, figures, a parallel bootstrap
	@$(BIN)/fanfold demo

static: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static ## The gate for each commit: format, lint, types, layers, the fast tests
	$(BIN)/pytest $(wildcard tests/architecture tests/unit tests/contract)

# Folders in their order: acceptance, which takes long, first, and the quick files of unit at the end, so
# that no process still has minutes to go when the others have nothing left.
test: static ## Everything that CI runs: the gate and then all tests, each once
	$(BIN)/pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

bench: setup ## Measure speed against the yardstick
	bench/run.sh

soak: setup ## Run the long tests that `make test` leaves out
	$(BIN)/pytest -m soak --timeout 0

audit: setup ## Ask whether anything that is pinned has a known vulnerability
	@$(BIN)/python scripts/audit.py

sbom: setup ## Write what fanfold is made of (CycloneDX) to dist/fanfold.cdx.json
	@$(BIN)/python scripts/sbom.py

reference: setup ## Write the generated pages of docs/reference anew
	@$(BIN)/python scripts/reference.py

docs: setup ## Write the documentation as a site, into site/
	@$(BIN)/zensical build --clean --strict

format: setup ## Put the code in order: format, and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

# No registry is named in a lock file: pip and uv ask whichever this machine is set up with.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --system-certs --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

lock: setup ## Pin the dependencies anew after a change (UPGRADE=1: to the newest)
	$(COMPILE) pyproject.toml --extra server --extra conda --extra postgres --extra oracle --extra oidc --extra s3 --group dev --output-file requirements/server.lock
	$(COMPILE) requirements/engine.in --output-file requirements/engine.lock
	@$(PYTHON) scripts/setup.py

clean: ## Remove all that was installed, built or cached here
	rm -rf .venv .environments build dist site htmlcov .coverage* .hypothesis \
		.import_linter_cache .mypy_cache .pytest_cache .ruff_cache .cache
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
