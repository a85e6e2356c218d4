# Needs Python 3.11+, git, make and the package index; everything else goes into .venv.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/.installed
SYSTEM := .venv/.system
TOOLS := .tools/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-system schemathesis tools load soak bulkhead bench bench-reloads drift-tables \
	drift-bench drift-compare experiment-tables replicas-bench pictures dashboards chart image pins dist sbom \
	release-check lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

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

# Hundreds of gateways are started, and each would compile all its modules anew.
test test-system: export PYTHONDONTWRITEBYTECODE =

# A file's tests share its fixtures; the order is tests/conftest.py's.
AS_FILES := --dist loadfile --no-loadscope-reorder

# Many tests wait for a clock, so one more of them than two cores have room for costs none of the others.
test: setup  ## the tests that need nothing but the above; ARGS go to pytest
	$(BIN)/python -m pytest -m 'not needs' -n 3 $(AS_FILES) $(ARGS)

# What only tests of the system import, such as the driver of a browser.
$(SYSTEM): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,system]'
	@touch $@

# What builds the package wants other versions of what checkov brings, so it lives apart.
$(TOOLS): deploy/tools.txt deploy/tools-apart.txt deploy/get-helm
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check --requirement deploy/tools.txt
	$(PYTHON) -m venv .tools/apart
	.tools/apart/bin/python -m pip install --quiet --disable-pip-version-check --requirement deploy/tools-apart.txt
	ln -sf ../apart/bin/cyclonedx-py ../apart/bin/pyproject-build .tools/bin/
	deploy/get-helm
	@touch $@

tools: $(TOOLS)  ## checkers of image, chart and pages, in .tools

test-system: setup $(SYSTEM) tools  ## the tests against installed tools; one that is missing skips (fails if CI is set)
	@code=0; $(BIN)/python -m pytest -m needs -n 2 $(AS_FILES) $(ARGS) || code=$$?; \
	if [ $$code -eq 5 ] && ! grep -rqE 'mark\.needs\(' tests; then \
		echo "No test needs a system tool."; code=0; \
	fi; exit $$code

schemathesis: setup tools  ## every route asked in all ways that its document allows; five minutes
	@PATH="$(CURDIR)/.tools/bin:$$PATH" $(BIN)/python tests/schemathesising.py $(ARGS)

chart: setup  ## what helm/ holds of dashboards, rules, version and table of values, made anew
	$(BIN)/python deploy/chart.py

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

experiment-tables: setup  ## error rates of experiments, promised beside measured; three minutes
	@$(BIN)/python -m loadtests.experiments $(ARGS)

replicas-bench: setup  ## replicas on one Redis beside gateways alone: rates, memory, a dead holder
	@$(BIN)/python -m loadtests.replicas $(ARGS)

# The commit's own time, so that the same commit makes the same bytes wherever it is built.
dist: tools  ## sdist and wheel in dist/
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) .tools/apart/bin/python -m build --outdir dist .

sbom: dist  ## and their bill of materials, CycloneDX
	PATH="$$PWD/.tools/bin:$$PATH" SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(PYTHON) deploy/sbom.py dist/*.whl dist/branch-gateway.cdx.json

release-check: setup $(SYSTEM) sbom  ## all of a release that can be tried here; TAG=v1.2.3 must be its version
	CI=true TAG='$(TAG)' $(BIN)/python -m pytest tests/release $(ARGS)

pictures: setup $(SYSTEM)  ## the console's pictures in deploy/pictures, of a demonstration; six minutes
	@$(BIN)/python -m loadtests.pictures $(ARGS)

dashboards: setup $(SYSTEM)  ## deploy/grafana/dashboards/*.json, from the code beside them
	$(BIN)/python -m deploy.grafana.dashboards

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' gateway/__init__.py)
# The first of these that works builds. Another format than docker's has no health check.
BUILDERS ?= docker podman buildah
BUILD_ARGS = --build-arg REVISION=$$(git rev-parse HEAD) --tag localhost/branch-gateway:$(VERSION) $(ARGS) .

image:  ## the image localhost/branch-gateway, by docker, podman or buildah; ARGS go to it
	@for builder in $(BUILDERS); do \
		$$builder info >/dev/null 2>&1 || continue; \
		case $$builder in docker) set -- docker build;; *) set -- $$builder build --layers --format docker;; esac; \
		echo "$$* $(BUILD_ARGS)"; exec "$$@" $(BUILD_ARGS); \
	done; echo "none of these is there and works, and one of them builds images: $(BUILDERS)" >&2; exit 1

PIN = .tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --constraint constraints.txt
pins: tools  ## what the image installs, each file by its hash
	echo '# What the image installs, each file by its hash; `make pins` writes it.' > deploy/image/requirements.txt
	$(PIN) --extra pandas --extra parquet pyproject.toml >> deploy/image/requirements.txt
	echo '# What builds the wheel for the image, each file by its hash; `make pins` writes it.' > deploy/image/build.txt
	echo 'hatchling>=1.27' | $(PIN) - >> deploy/image/build.txt

lint: setup $(SYSTEM)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy

clean:  ## remove what the others made
	rm -rf .venv .tools .demo .gateway .bench .bulkhead .drift .load .soak .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	find gateway loadtests tests -name __pycache__ -type d -prune -exec rm -rf {} +
