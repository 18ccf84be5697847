# The two commands of the README, and the commands for developers.
#   make demo   train a small comparison on procedural rooms and write an HTML report
#   make test   lint, type check, build the docs and run all tests
#   make docs   build the documentation into docs/_build/html; a warning is an error
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
TOOLS := .tools
# uv from PATH, or installed into its own virtual environment.
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)

.PHONY: demo test lint lock docs clean env

demo: env
	$(VENV)/bin/taskprism demo --out demo

# One thread per worker: two workers with two threads each would compete for two cores.
test: export OMP_NUM_THREADS = 1
# Compiled modules are kept, or every process would compile taskprism and the tests again.
test: export PYTHONDONTWRITEBYTECODE =
test: env
	$(MAKE) --jobs 2 --output-sync=target lint docs
	$(PYTHON) -m pytest -q -n 2 --dist worksteal

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyrefly check
	$(VENV)/bin/lint-imports --no-cache

docs: env
	$(PYTHON) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Wrote docs/_build/html/index.html"

env: $(VENV)/.installed

$(TOOLS)/bin/uv:
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv

$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11' $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(PYTHON) requirements.lock
	$(UV) pip install --quiet --no-deps --python $(PYTHON) --editable .
	@touch $@

# Writes the lock: pins and hashes for every platform, without an index address.
lock: | $(UV)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --extra all --group dev --group docs \
	  pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) $(TOOLS) demo runs docs/_build
