# `make run` starts a server with the embedded default; `make test` sets up everything and passes every test.
# Needs make, and Python 3.11 or newer with venv and pip.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# Tests run side by side: many of them wait for a clock, a disk or another program.
JOBS   ?= 4
TRIAL  ?= $(BIN)/python -m twisted.trial --jobs=$(JOBS)
TESTS  ?= tests

# Neither the server that is tried nor a test reads a configuration of this machine.
export MAILFW_CONFIG =
# Tests start the program hundreds of times: what is compiled is kept, also where containers say that nothing is.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run install develop lint interop check test clean

run: install
	exec $(BIN)/twistd --nodaemon --pidfile= mailfw

install: $(VENV)/.installed

develop: $(VENV)/.developed

# The stamps are younger than what they were made of: nothing is installed twice.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.developed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.installed

lint: develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The real clients and servers that tests talk to; without them those tests are skipped and say so.
interop:
	sh .ci/interop.sh

check: develop
	$(TRIAL) $(TESTS)

test: develop interop lint check

clean:
	rm -rf $(VENV) .interop build dist _trial_temp* .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name dropin.cache -exec rm -f {} +
