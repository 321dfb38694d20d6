# Commands for people. Each target makes the environment in .venv when it is missing or
# older than pyproject.toml, and can be repeated. Paths are relative on purpose: the
# folder's own name may contain spaces.
#
#     make PYTHON=python3.12 demo     another interpreter (3.11 or newer)
#     make WORKERS=4 test             more test processes

SHELL := /bin/sh
# The first interpreter among those that are tested (3.11 to 3.13), else the first that
# is new enough; python3, for the message, when none is.
TESTED := import sys; sys.exit(not 0x30b0000 <= sys.hexversion < 0x30e0000)
NEW_ENOUGH := import sys; sys.exit(sys.hexversion < 0x30b0000)
NAMES := python3 python3.13 python3.12 python3.11 python
find = $(shell for name in $(NAMES); do \
	"$$name" -c '$(1)' 2>/dev/null && echo "$$name" && break; done)
PYTHON ?= $(or $(call find,$(TESTED)),$(call find,$(NEW_ENOUGH)),python3)
WORKERS ?= 2
# What the tests that compare with PyTorch were last run with; any from 2.6 on will do.
TORCH ?= torch==2.13.0

VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow test-torch test-wheel lint format docs wheel clean distclean
.DELETE_ON_ERROR:

help: ## show this list
	@echo "Usage: make TARGET      (in $(CURDIR))"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '%-12s %s\n' "$$name" "$$text"; done

env: $(STAMP) ## make the Python environment in .venv

$(STAMP): pyproject.toml
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		found="$$("$(PYTHON)" --version 2>/dev/null)"; \
		echo "make: cmrjax needs Python 3.11 or newer, but '$(PYTHON)' is" \
			"$${found:-not there}. Name another: make PYTHON=python3.12"; \
		exit 1; }
	@echo "make: environment in .venv with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "make: '$(PYTHON) -m venv' failed. On Debian and Ubuntu:" \
			"apt install python3-venv"; exit 1; }
	@echo "make: installing the packages of pyproject.toml (some minutes, 2 GB)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[all,dev]"
	@touch $(STAMP)
	@echo "make: environment ready"

demo: $(STAMP) ## the whole chain, small: runs/demo (about 10 minutes)
	@echo "make: the demo writes to runs/demo"
	@$(RUN) -m experiments.demo --workdir=runs/demo

test: $(STAMP) ## run the tests (about 11 minutes on 2 cores)
	@echo "make: running the tests with $(WORKERS) processes"
	@$(RUN) -m pytest -m "not slow" -n $(WORKERS) --dist=loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## run the tests that take long
	@$(RUN) -m pytest -m slow

test-torch: $(STAMP) ## install PyTorch and run the tests that compare with it
	@$(RUN) -c 'import torch' 2>/dev/null || { echo "make: installing $(TORCH)"; \
		$(RUN) -m pip install --quiet --disable-pip-version-check "$(TORCH)"; }
	@$(RUN) -m pytest -m "torch and not slow" -n $(WORKERS) --dist=loadfile

test-wheel: $(STAMP) ## build the wheel and test it outside of this folder
	@$(RUN) -m pytest tests/test_wheel.py

lint: $(STAMP) ## check style, format and types
	@echo "make: ruff check, ruff format --check, pyright"
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m pyright --pythonpath $(RUN)

format: $(STAMP) ## format the code and fix what can be fixed
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

docs: $(STAMP) ## write the API pages: build/docs/index.html
	@$(RUN) -m tools.api_pages --out=build/docs

wheel: $(STAMP) ## build wheel and sdist into dist
	@$(RUN) -m build --no-isolation --outdir=dist

clean: ## remove caches and builds
	rm -rf .cache .pytest_cache .ruff_cache .hypothesis build dist ./*.egg-info
	find cmrjax experiments tools tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove the environment too
	rm -rf $(VENV)
