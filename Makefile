# make demo      train and evaluate an encoder on the digits of scikit-learn
# make test      run the short tests (minutes); make test-all also runs the long ones
# make docs      build the documentation into site/; make docs-serve serves it on 127.0.0.1:8000
# make lint      check style and types
# All targets create .venv and install the package into it first.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long test-all lint docs docs-serve clean

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

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-serve: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8000

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sslzoo needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv site build *.egg-info sslzoo.egg-info
