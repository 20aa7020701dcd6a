# Everything here sets itself up: Python 3.11 and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EDITABLE := .venv-editable
RELEASE := .venv-release
# What a `get` does that can differ without the compiled front.
LAUNCHED := $(addprefix get/test_,hit.py get.py age.py streams.py) daemon/test_socket_hit.py clients/test_docker.py
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Tests wait for programs more than they compute; unit tests do not.
WORKERS := $(shell echo $$((2 * $(CORES))))

.PHONY: test test-launcher unit demo bench lint release clean
.DEFAULT_GOAL := test

# The package is installed as users install it, not in place: the tests run what pip leaves behind.
$(VENV)/installed: pyproject.toml $(shell find docker_credential_ecr_py packaging -not -name '*.pyc' -not -name __pycache__)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check --group test --group lint
	$(BIN)/python -m pip install -q --disable-pip-version-check .
	touch $@

# For `make unit`: in place, so a change of the source needs no new installation.
$(EDITABLE)/installed: pyproject.toml packaging/docker-credential-ecr-py
	test -x $(EDITABLE)/bin/python || $(PYTHON) -m venv $(EDITABLE) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(EDITABLE)/bin/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(EDITABLE)/bin/python -m pip install -q --disable-pip-version-check --group test --editable .
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# `make test T=tests/system/login` runs these alone, without lint; the package is installed anew if
# it has changed.
test: $(if $(T),$(VENV)/installed,lint)
	$(BIN)/pytest -n $(WORKERS) $(T)

# With the launcher in the place of the compiled front, as on a machine without a C compiler.
test-launcher: $(VENV)/installed
	rm $(VENV)/installed
	ECR_PY_FRONT=0 $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall .
	$(BIN)/pytest -n $(WORKERS) $(addprefix tests/system/,$(LAUNCHED))

unit: $(EDITABLE)/installed
	$(EDITABLE)/bin/pytest -n $(CORES) $(or $(T),tests/unit)

demo: $(VENV)/installed
	@$(BIN)/python -m tests.demo

# `make bench ROWS="hit socket"` runs the rows with these in their names, `ROWS=all` all of them.
bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.helpers $(ROWS)

# For upload: into dist/. The compiler for all platforms is downloaded, 90 MB.
release: $(RELEASE)/installed
	$(RELEASE)/bin/python packaging/release.py dist

$(RELEASE)/installed: pyproject.toml
	test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(RELEASE)/bin/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(RELEASE)/bin/python -m pip install -q --disable-pip-version-check --group release
	touch $@

clean:
	rm -rf $(VENV) $(EDITABLE) $(RELEASE) build dist .*_cache .hypothesis
