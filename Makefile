# Everything that one needs is made by the targets themselves; only Python 3.11 or later must be there.
.DEFAULT_GOAL := help
.PHONY: help install dev demo test check bench clean

PYTHON := .venv/bin/python
READY := .venv/.ready
PORT ?= 8080
DATA ?= .f0ops
# One worker more than there are processors: many tests wait for a server, a browser or a clock.
WORKERS ?= $(shell expr `getconf _NPROCESSORS_ONLN` + 1)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## Install what is needed into .venv, which all the others do by themselves

dev: $(READY) ## Serve everything on one local port (PORT=8080, DATA=.f0ops); Ctrl-C stops it
	@exec $(PYTHON) -m scripts.dev --port $(PORT) --data-dir $(DATA)

demo: $(READY) ## Beside `make dev`: an app that sends metrics, slows down, breaks and recovers
	@exec $(PYTHON) -m demo

test: check ## Check the code, then run every test
	$(PYTHON) -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal

check: $(READY) ## Lint, formatting, types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: $(READY) ## Measure: billed operations, CPU, requests a second
	@exec $(PYTHON) -m bench

clean: ## Remove the environment, caches and the local data (.f0ops)
	rm -rf .venv .f0ops .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installed anew only when a list of requirements changes.
$(READY): requirements.txt requirements-dev.txt scripts/make_venv.sh
	@bash scripts/make_venv.sh .venv
	@touch $@
