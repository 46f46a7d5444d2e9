# `make` alone lists the commands. All run in .venv, which the first of them makes (Python ≥ 3.11 with pip, and make).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: help demo test check quick format lint types layers warm fmt mutate bench regress pages results leaderboard clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## recommend a dose for a real phenobarbital infant: plot and JSON in out/
	@$(BIN)/doseloop demo

test: warm  ## all tests
	@$(PYTEST)

check: format lint types layers test  ## what CI runs: format, lint, types, layers, tests

quick: warm  ## the tests without the slow ones
	@$(PYTEST) -m "not slow"

format: $(READY)
	@$(BIN)/ruff format --check .

lint: $(READY)
	@$(BIN)/ruff check .

# The repository root is the package, under whatever name it was checked out: mypy reads it through a link that has
# the right name, and the messages name the files as they are.
types: $(READY)
	@mkdir -p $(VENV)/typing && ln -sfn ../.. $(VENV)/typing/doseloop
	@MYPYPATH=$(VENV)/typing $(BIN)/mypy -p doseloop | sed 's|$(VENV)/typing/doseloop/||'

layers: $(READY)
	@$(BIN)/python -m pytest -p no:cacheprovider tests/test_layers.py

# One process compiles the event loops and fills the user's cache, so that the test workers find them ready.
warm: $(READY)
	@if [ -f cli.py ]; then $(BIN)/doseloop warm; fi

fmt: $(READY)  ## format the code, and mend what ruff can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

mutate: $(READY)  ## mutation run over the guard
	@$(BIN)/python benchmarks/mutate.py

bench: warm  ## all benchmarks, beside public peers in environments of their own (doseloop bench --help)
	@$(BIN)/doseloop bench all

regress: $(READY)  ## hot paths against the last commit, 10 % and more flagged (BASE=commit, ONLY="Hovorka MPC", COUNTS=no)
	@$(BIN)/python benchmarks/regress.py $(if $(BASE),--base $(BASE)) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(COUNTS),--counts $(COUNTS))

pages: $(READY)  ## write docs/envs, a page for each environment, from docstrings, spaces and measured scores
	@$(BIN)/python docs/pages.py

leaderboard: warm  ## every policy on the same held-out patients: docs/leaderboard.md and the README's table (QUICK=1: a few)
	@$(BIN)/python benchmarks/leaderboard.py --workers $(WORKERS) $(if $(QUICK),--quick)

results: $(READY)  ## write the README's table from benchmarks/results
	@$(BIN)/python docs/results.py

clean:  ## remove what was built and cached here (.venv stays)
	@rm -rf build dist out *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Where Python comes without ensurepip (Debian's package), the pip at hand fills the new environment.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"doseloop needs Python 3.11 or later; $(PYTHON) is {v[0]}.{v[1]}: make PYTHON=python3.12 …")'
	@echo "setting up $(VENV), once (one to three minutes)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  $(PYTHON) -m venv --clear --without-pip $(VENV); \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
