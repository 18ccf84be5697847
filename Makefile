# The two commands of the README, and the commands for developers.
#   make demo   train a small comparison on procedural rooms and write an HTML report
#   make test   lint, type check, build the docs and run the tests
#   make docs   build the documentation into docs/_build/html; a warning is an error
# PYTHON_VERSION=3.12 selects an interpreter, as in `make tests PYTHON_VERSION=3.12`.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
PYTHON_VERSION := >=3.11
TOOLS := .tools
PYTEST := $(PYTHON) -m pytest -q -n 2 --dist worksteal
# uv from PATH, or installed into its own virtual environment.
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)

.PHONY: demo test tests test-all lint lock docs clean env newest wheel check-install check-tag

demo: env
	$(VENV)/bin/taskprism demo --out demo

# One thread per worker: two workers with two threads each would compete for two cores.
test tests test-all: export OMP_NUM_THREADS = 1
# Compiled modules are kept, or every process would compile taskprism and the tests again.
test tests test-all: export PYTHONDONTWRITEBYTECODE =
test: env
	$(MAKE) --jobs 2 --output-sync=target lint docs
	$(PYTEST) -m "not nightly"

# The tests alone.
tests: env
	$(PYTEST) -m "not nightly"

# Also whole matrices and long checks: about twice the time. The nightly workflow runs them.
test-all: env
	$(PYTEST)

lint: env
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyrefly check
	$(VENV)/bin/lint-imports --no-cache

docs: env
	$(PYTHON) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "Wrote docs/_build/html/index.html"

# Wheel and source distribution in dist/, checked.
wheel: | $(UV)
	rm -rf dist
	$(UV) build --quiet --out-dir dist
	$(UV) run --quiet --no-project --with lazy-loader python .ci/check_wheel.py dist/*.whl

# A plain install of the wheel, without extras, trains and predicts.
check-install: wheel
	rm -rf build/install build/first
	$(UV) venv --quiet --python '$(PYTHON_VERSION)' build/install
	$(UV) pip install --quiet --python build/install/bin/python dist/*.whl
	cd build && install/bin/taskprism train rooms/multi_task --out first --epochs 1 \
	  --data.options.train_length 8 --data.options.val_length 2 --data.options.test_length 2
	cd build && install/bin/taskprism predict first first/pictures --out first/predictions

# Before a release: TAG is that of the version in pyproject.toml and CITATION.cff.
check-tag:
	@for file in pyproject.toml CITATION.cff; do \
	  grep -Eq '^version(: | = ")$(TAG:v%=%)"?$$' $$file || \
	    { echo "The version in $$file is not that of the tag $(TAG)."; exit 1; }; \
	done

env: $(VENV)/.installed

# The environment with the newest versions that pyproject.toml allows, in place of the lock's.
newest: | $(UV)
	$(UV) venv --quiet --allow-existing --python '$(PYTHON_VERSION)' $(VENV)
	$(UV) pip install --quiet --upgrade --python $(PYTHON) --editable '.[all]' \
	  --group dev --group docs
	@touch $(VENV)/.installed

$(TOOLS)/bin/uv:
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv

$(VENV)/.installed: requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python '$(PYTHON_VERSION)' $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --require-hashes --python $(PYTHON) requirements.lock
	$(UV) pip install --quiet --no-deps --python $(PYTHON) --editable .
	@touch $@

# Writes the lock: pins and hashes for every platform, without an index address.
lock: | $(UV)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
	  --python-version 3.11 --extra all --group dev --group docs \
	  pyproject.toml --output-file requirements.lock

clean:
	rm -rf $(VENV) $(TOOLS) demo runs docs/_build build dist
