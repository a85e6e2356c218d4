# Needs Python 3.11+, git, make and the package index; everything else goes into .venv.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-system load soak bulkhead bench bench-reloads drift-tables drift-bench \
	drift-compare lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## .venv with the gateway and its tools; quick the second time

$(INSTALLED): pyproject.toml constraints.txt
	@command -v git >/dev/null || { echo "git is not installed; the gateway cannot do without." >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; name a Python of at least 3.11: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); name one of at least 3.11: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup  ## a demonstration repository, served on 127.0.0.1:8080 and explained
	@$(BIN)/gateway demo $(ARGS)

test: setup  ## the tests that need nothing but the above; ARGS go to pytest
	$(BIN)/python -m pytest -m 'not needs' -n 2 --dist loadfile $(ARGS)

test-system: setup  ## the tests against installed tools; one that is missing skips (fails if CI is set)
	@code=0; $(BIN)/python -m pytest -m needs $(ARGS) || code=$$?; \
	if [ $$code -eq 5 ] && ! grep -rqE 'mark\.needs\(' tests; then \
		echo "No test needs a system tool."; code=0; \
	fi; exit $$code

load: setup  ## users on a demonstration while weights change and merges land; ARGS=--web for a page
	@$(BIN)/python -m loadtests $(ARGS)

soak: setup  ## ten minutes of users, merges, kills and overload, then an audit; ARGS='--minutes 2'
	@$(BIN)/python -m loadtests.soak $(ARGS)

bulkhead: setup  ## does one branch's overload or hang slow another's users? three minutes
	@$(BIN)/python -m loadtests.bulkhead $(ARGS)

bench: setup  ## the race with its peers, about an hour; ARGS=--quick for a smoke run
	@$(BIN)/python -m loadtests.bench $(ARGS)

bench-reloads: setup  ## fifty reloads under load: failures, latency, time to serve, memory
	@$(BIN)/python -m loadtests.reloads $(ARGS)

drift-tables: setup  ## false alarms and power of drift's verdicts, simulated; two minutes
	@$(BIN)/python -m loadtests.drift tables $(ARGS)

drift-bench: setup  ## rows a second that drift's windows take in
	@$(BIN)/python -m loadtests.drift bench $(ARGS)

drift-compare: setup  ## our verdicts beside Evidently's and NannyML's; installs them in .drift
	@$(BIN)/python -m loadtests.drift compare $(ARGS)

lint: setup  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

clean:  ## remove what the others made
	rm -rf .venv .demo .gateway .bench .bulkhead .drift .load .soak .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find gateway loadtests tests -name __pycache__ -type d -prune -exec rm -rf {} +
