# Everything here sets itself up: Python 3.11 and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests wait for programs more than they compute.
WORKERS := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

.PHONY: test demo bench lint clean
.DEFAULT_GOAL := test

# The package is installed as users install it, not in place: the tests run what pip leaves behind.
$(VENV)/installed: pyproject.toml $(shell find docker_credential_ecr_py packaging -not -name '*.pyc' -not -name __pycache__)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check --group test --group lint
	$(BIN)/python -m pip install -q --disable-pip-version-check .
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/pytest -n $(WORKERS)

demo: $(VENV)/installed
	@$(BIN)/python -m tests.demo

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.helpers

clean:
	rm -rf $(VENV) build dist .*_cache .hypothesis
