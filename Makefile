# Everything runs in .venv, which `make setup` builds from requirements.lock.
#
#   PYTHON=python3.12 make setup     choose the interpreter (3.11 or newer)
#   LIVE_WORKERS=4 make test         more live tests at a time (each starts many processes)

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.PHONY: help setup demo test lint docs bench lock clean distclean test-fast test-live

PYTHON ?=
LIVE_WORKERS ?= 2
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
STAMP := .venv/.seakeep-installed

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## build .venv with everything; again only when the lock file has changed

$(STAMP): requirements.lock pyproject.toml scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(PYTHON)"
	@echo "setup: installing what requirements.lock pins"
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## run the example in two regions and break it: about three minutes
	@cd examples/shop && ../../$(PY) -m demo

test: $(STAMP) ## lint, build the docs, run every test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory docs
	@status=0; \
	$(MAKE) --no-print-directory test-fast || status=1; \
	$(MAKE) --no-print-directory test-live || status=1; \
	exit $$status

test-fast: $(STAMP)
	$(PY) -m pytest -m "not live" -n auto

test-live: $(STAMP)
	$(PY) -m pytest -m live -n $(LIVE_WORKERS) --dist loadfile

lint: $(STAMP) ## ruff, mypy, import contracts, sizes of files and functions
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) scripts/check_sizes.py

docs: $(STAMP) ## write the reference pages from the code and build site/
	$(PY) scripts/reference.py
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: $(STAMP) ## run every program of benchmarks/, one after the other
	@for file in benchmarks/[!_]*.py; do \
	  echo "bench: $$file"; $(PY) "$$file" || exit 1; \
	done

# Needs uv (https://docs.astral.sh/uv/). The lock holds for every platform and for Python 3.11
# and later; it names no registry, so that each machine uses the one it is set up for.
lock: ## renew requirements.lock from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "lock: uv is not installed" >&2; \
	  echo "hint: see https://docs.astral.sh/uv/ for how to get it" >&2; exit 1; }
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file requirements.lock

clean: ## remove what was built, but for .venv
	rm -rf site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f docs/reference/cli.md docs/reference/spec.md docs/reference/reasons.md

distclean: clean ## remove .venv too
	rm -rf .venv
