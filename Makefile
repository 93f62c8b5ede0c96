# make demo    the whole chain on this machine, from nothing
# make test    lint, format, types and tests, from nothing
# make lint | format | bench | parity | lock | clean
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Further arguments of the demo, for example ARGS="root=runs/other".
ARGS   ?=
# Test files at a time: one more than cores, for tests that wait.
WORKERS ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )))
PYTEST  := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast lint format bench parity lock clean install install-dev
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -3

demo: $(VENV)/.installed
	@$(BIN)/python launch/demo.py $(ARGS)

test: lint
	$(PYTEST)

# Without the tests that take longer than ten seconds.
test-fast: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/benchmarks -o python_files='bench_*.py' -s -p no:cacheprovider -m benchmark

# Trains in every topology and writes docs/parity.md, a few minutes.
parity: $(VENV)/.installed-dev
	WRITE_PARITY=1 $(BIN)/python -m pytest tests/pipeline/parity

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.python: requirements.lock
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "error: $(PYTHON) is missing; install Python 3.11 or newer, or give PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is $$($(PYTHON) -V 2>&1 | cut -d" " -f2); Python 3.11 or newer is needed, give PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; install it (Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

# deepspeed comes as source; DS_BUILD_OPS=0 keeps it pure Python, so that no compiler is needed.
$(VENV)/.installed: $(VENV)/.python requirements.lock pyproject.toml
	@echo "installing the packages of requirements.lock into $(VENV) (some minutes the first time)"
	@DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing the packages of requirements-dev.lock"
	@DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	@touch $@

# Renew both lock files from the ranges of pyproject.toml, in an environment of its own.
lock:
	@set -e; env=$$(mktemp -d); trap 'rm -rf "$$env"' EXIT; $(PYTHON) -m venv $$env; $$env/bin/pip install --quiet --upgrade pip; \
	freeze() { $$env/bin/pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//' | LC_ALL=C sort; }; \
	DS_BUILD_OPS=0 $$env/bin/pip install --quiet -e .; freeze > $$env/run; \
	DS_BUILD_OPS=0 $$env/bin/pip install --quiet -e '.[dev]'; freeze > $$env/dev; \
	{ sed -n '/^#/p' requirements.lock; cat $$env/run; } > $$env/new && mv $$env/new requirements.lock; \
	{ sed -n '/^[#-]/p' requirements-dev.lock; LC_ALL=C comm -13 $$env/run $$env/dev; } > $$env/new && mv $$env/new requirements-dev.lock

clean:
	rm -rf $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
