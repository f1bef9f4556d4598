# SPDX-License-Identifier: Apache-2.0
# Two commands do everything on a fresh machine: `make demo` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
# Test files run side by side; each process uses one core.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test nightly lint format reproduce bench clean

help:
	@echo 'make demo       install into .venv and run the main experiment'
	@echo 'make test       install into .venv and run the whole test suite'
	@echo 'make nightly    the suite compiled in full, without optimization, without fusion'
	@echo 'make lint       check format, style and types'
	@echo 'make format     rewrite files in the house format'
	@echo 'make reproduce  rerun the claims of all papers (hours)'
	@echo 'make bench      measure the hot paths (minutes; quiet machine)'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) \
	  else f"jaxdl needs Python 3.11 or newer; {sys.executable} is \
	{v[0]}.{v[1]}: call make with PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[experiments]'
	@touch $(STAMP)

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(DEV_STAMP)

demo: $(STAMP)
	$(BIN)/python -m experiments.robust_training

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

nightly: $(DEV_STAMP)
	JAXDL_TEST_OPTIMIZE=1 $(MAKE) test
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(MAKE) test
	JAXDL_TEST_OPTIMIZE=1 JAXDL_TEST_FUSION=0 $(MAKE) test
	$(MAKE) bench BENCH=--quick

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check

format: $(DEV_STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reproduce: $(STAMP)
	$(BIN)/python -m experiments.reproduce --papers=all

bench: $(STAMP)
	$(BIN)/python -m experiments.benchmarks.aggregation $(BENCH)
	$(BIN)/python -m experiments.benchmarks.federated_round $(BENCH)
	$(BIN)/python -m experiments.benchmarks.federated $(BENCH)
	$(BIN)/python -m experiments.benchmarks.mixing $(BENCH)
	$(BIN)/python -m experiments.benchmarks.gossip $(BENCH)
	$(BIN)/python -m experiments.benchmarks.operators $(BENCH)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist *.egg-info
