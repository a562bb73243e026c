# Everything a developer runs. Each target sets up what it needs in .venv, by itself.
#   make demo     a gRPC call between two nodes on this machine, narrated
#   make test     the tests (real foreign peers apart)
#   make check    ruff, mypy strict, import-linter
#   make interop  the tests against libutp, libtorrent, grpc-js and curl   (QUICK=1: the quick part)
#   make natlab   the tests behind real NATs in network namespaces, as root (QUICK=1: the quick part)
#   make stress   many streams at once over real sockets, for about a minute (SEED=7 repeats a run)
#   make bench    the benchmarks                                      (BENCH="--quick --only bulk")
#   make build    wheel and sdist, each tried in an empty venv
#   make clean    remove all of it again

SHELL := /bin/sh
.DELETE_ON_ERROR:
.PHONY: demo test check format interop natlab stress bench build clean venv

# The first interpreter that starts and is new enough (a pyenv shim may stand there and not start).
PYTHON ?= $(shell for p in python3.11 python3 python3.13 python3.12; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

demo: $(VENV)/.stamp-run
	$(VENV)/bin/keynet demo

test: $(VENV)/.stamp-test
	$(PY) -m pytest -q -n auto --dist worksteal -m "not interop and not natlab and not stress" $(PYTEST)

# The benchmarks are type-checked too, so what they import must be there.
check: $(VENV)/.stamp-test $(VENV)/.stamp-bench $(VENV)/.stamp-check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.stamp-check
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .

interop: $(VENV)/.stamp-test $(VENV)/.stamp-interop tests/interop/node_modules/.stamp
	$(PY) -m pytest -q tests/interop $(if $(QUICK),-m "not slow") $(PYTEST)

natlab: $(VENV)/.stamp-test $(VENV)/.stamp-lab
	$(PY) -m pytest -v tests/natlab $(if $(QUICK),-m "not slow") $(PYTEST)

# SEED repeats a run; EACH is the seconds for each of four paths.
stress: $(VENV)/.stamp-test
	SEED=$(SEED) EACH=$(EACH) $(PY) -m pytest -q -s tests/stress $(PYTEST)

bench: $(VENV)/.stamp-run $(VENV)/.stamp-bench
	$(PY) -m benchmarks $(BENCH)

build: $(VENV)/.stamp-build
	rm -rf dist
	$(PY) -m build --outdir dist .
	$(PY) tests/architecture/try_distributions.py dist

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache tests/interop/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv: $(VENV)/.stamp-test $(VENV)/.stamp-check $(VENV)/.stamp-interop $(VENV)/.stamp-bench

# Set-up. A stamp is older than the pyproject.toml that it was made from when that changes.

$(VENV)/.stamp-pip:
	@test -n "$(PYTHON)" || { echo "keynet needs Python 3.11 or later (with venv)" >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.stamp-run: $(VENV)/.stamp-pip pyproject.toml
	$(PIP) install --editable ".[grpc,speed]"
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-run $(addsuffix /pyproject.toml,$(PLUGINS))
	$(PIP) install --group test $(addprefix --editable ./,$(PLUGINS))
	@touch $@

$(VENV)/.stamp-%: $(VENV)/.stamp-run
	$(PIP) install --group $*
	@touch $@

# Programs, not Python: where one stays missing, this is tried again next time.
$(VENV)/.stamp-lab: tests/natlab/packages.sh
	@if sh $<; then touch $@; fi

# Without npm the tests that need it skip, and say so.
tests/interop/node_modules/.stamp: tests/interop/package-lock.json
	if command -v npm >/dev/null; then cd tests/interop && npm ci --silent; fi
	@mkdir -p $(@D)
	@touch $@
