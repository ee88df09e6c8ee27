# `make demo` trains and scores an encoder on the digits that ship with scikit-learn; `make test` runs the tests that take
# minutes, `make test-all` the long ones as well. Each creates .venv first and installs the package into it.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long test-all lint clean

demo: .venv/installed
	$(BIN)/accelerate launch run.py --method ascl

test: .venv/installed
	$(BIN)/python -m pytest -m "not long"

test-long: .venv/installed
	$(BIN)/python -m pytest -m long

test-all: test test-long

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sslzoo needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info sslzoo.egg-info
