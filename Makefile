# Everything here sets itself up: Python 3.11 and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EDITABLE := .venv-editable
LAUNCHER := .venv-launcher
RELEASE := .venv-release
IMAGE := .image
# What a `get` does that can differ without the compiled front.
LAUNCHED := $(addprefix get/test_,hit.py get.py age.py streams.py) daemon/test_socket_hit.py clients/test_docker.py
CORES := $(shell getconf _NPROCESSORS_ONLN)
# Tests wait for programs as long as they compute; unit tests do not.
WORKERS := $(shell echo $$((2 * $(CORES) + 2)))

.PHONY: test pytest test-launcher unit demo bench lint release manifests image clean
.DEFAULT_GOAL := test

$(VENV)/dependencies: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check --group test --group lint
	touch $@

# The package is installed as users install it, not in place: the tests run what pip leaves behind.
$(VENV)/installed: $(VENV)/dependencies $(shell find docker_credential_ecr_py packaging -not -name '*.pyc' -not -name __pycache__)
	$(BIN)/python -m pip install -q --disable-pip-version-check '.[kubernetes]'
	touch $@

# With the launcher in the place of the compiled front, as on a machine without a C compiler. All
# other packages are those of $(VENV).
$(LAUNCHER)/installed: $(VENV)/installed
	$(BIN)/python -m venv --clear --without-pip $(LAUNCHER)
	cd $(LAUNCHER)/lib/python3.*/site-packages && \
	    $(CURDIR)/$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >dependencies.pth
	ECR_PY_FRONT=0 $(BIN)/python -m pip --python $(LAUNCHER)/bin/python install -q --disable-pip-version-check \
	    --no-index --no-deps --no-build-isolation --ignore-installed .
	touch $@

# For `make unit`: in place, so a change of the source needs no new installation.
$(EDITABLE)/installed: pyproject.toml packaging/docker-credential-ecr-py
	test -x $(EDITABLE)/bin/python || $(PYTHON) -m venv $(EDITABLE) || { echo 'apt install python3-venv' >&2; exit 1; }
	$(EDITABLE)/bin/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(EDITABLE)/bin/python -m pip install -q --disable-pip-version-check --group test --editable '.[kubernetes]'
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# `make test T=tests/system/login` runs these alone, without lint; the package is installed anew if
# it has changed.
test: $(if $(T),,lint) pytest

# A worker that is done takes tests over from the others: their durations differ.
pytest: $(VENV)/installed
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(T)

test-launcher: $(LAUNCHER)/installed
	$(LAUNCHER)/bin/python -m pytest -n $(CORES) $(addprefix tests/system/,$(LAUNCHED))

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

# The manifests for those who do not use helm: from the chart, so there is one source.
manifests:
	helm template ecr-py packaging/helm/ecr-py-controller --namespace ecr-py \
	    --values packaging/kubernetes/values.yaml >packaging/kubernetes/controller.yaml

# The controller's image, built by buildah on a small Debian, and tried. As root.
image: $(VENV)/installed $(IMAGE)/debian $(IMAGE)/wheels
	$(BIN)/pytest -s tests/kubernetes/image.py

$(IMAGE)/debian: packaging/debian-base
	mkdir -p $(IMAGE)
	packaging/debian-base $@.new
	rm -rf $@ && mv $@.new $@ && touch $@

# What we depend on, for a build that reaches no index: its pip does not know this machine's settings.
$(IMAGE)/wheels: $(VENV)/dependencies
	rm -rf $@
	ECR_PY_FRONT=0 $(BIN)/python -m pip wheel -q --disable-pip-version-check -w $@ \
	    '.[kubernetes]' hatchling hatch-fancy-pypi-readme
	touch $@

clean:
	rm -rf $(IMAGE) $(VENV) $(EDITABLE) $(LAUNCHER) $(RELEASE) build dist .*_cache .hypothesis
