# Everything here needs Python 3.11 or newer and make, nothing else: the rest is installed into .venv on first use.
PYTHON ?= python3
ARGS ?=
# Tests wait more than they work.
JOBS ?= 4

VENV := .venv
BIN  := $(VENV)/bin
BASE := $(VENV)/.base-installed
DEV  := $(VENV)/.dev-installed
UV   := UV_PYTHON_DOWNLOADS=never $(BIN)/uv
# A process that dies ends the run: pytest-xdist may wait for ever for the one that it starts in its place.
PYTEST := $(BIN)/pytest --numprocesses $(JOBS) --dist loadgroup --max-worker-restart 0
INSTALL := $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt -b constraints.txt

# Where there is a C compiler, and the headers of this Python, the hot modules can be compiled: see hatch_build.py.
COMPILED := $(CURDIR)/build/compiled/site
COMPILED_TESTS := tests/core tests/codecs tests/worker tests/stores tests/e2e
CAN_COMPILE := $(shell command -v $(CC) >/dev/null && $(PYTHON) -c 'import os.path, sys, sysconfig; \
	sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' && echo yes)

.DEFAULT_GOAL := help
.PHONY: help demo test test-compiled compiled lint format types check ops bench evidence docs pins soak clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(BASE) ## watch order go wrong, then right (ARGS="..." is passed on)
	@$(BIN)/inorder demo $(ARGS)

test: $(DEV) ## all tests, with a real Kafka, PostgreSQL and SQS emulator (ARGS="-k name" is passed on)
	@$(BIN)/python -m tests.services
	@$(PYTEST) $(ARGS)

ifdef CAN_COMPILE
test-compiled: compiled ## the tests of what is compiled, with the compiled modules (ARGS="-k name" is passed on)
	@$(BIN)/python -m tests.services
	@PYTHONPATH=$(COMPILED) $(PYTEST) $(COMPILED_TESTS) $(ARGS)
else
test-compiled:
	@echo "no C compiler, or no headers of this Python: nothing is compiled, the sources run as they are"
endif

compiled: $(COMPILED)/.done ## build the hot modules with mypyc, into build/; needs a C compiler

lint: $(DEV) ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

format: $(DEV) ## ruff: mend what it can
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(DEV) ## mypy, strict, over src and tests
	@$(BIN)/mypy

check: lint types test ## lint, types and test

pins: $(DEV) ## write constraints.txt anew from pyproject.toml
	@$(UV) pip compile pyproject.toml --universal --python-version 3.11 --all-extras --group dev --upgrade \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet -o constraints.txt

ops: $(DEV) ## write ops/ anew: alerts and dashboard
	@$(BIN)/python -m inorder.observe.alerts > ops/alerts.yaml
	@$(BIN)/python -m inorder.observe.dashboard > ops/dashboard.json

bench: $(if $(CAN_COMPILE),compiled,$(DEV)) ## measure, for an hour; ARGS="--quick" for minutes, ARGS="fold tx" for some parts, ARGS="--help" for more
	@$(BIN)/python -m tests.services
	@$(if $(CAN_COMPILE),PYTHONPATH=$(COMPILED)) $(BIN)/python -m bench $(ARGS)

evidence: $(DEV) ## run every experiment, with a real Kafka and an SQS emulator, and write docs/write-up.md anew
	@$(BIN)/python -m tests.services
	@$(BIN)/python docs/evidence.py $(ARGS)

docs: $(DEV) ## build the documentation site into site/, from docs/, without a network
	@$(BIN)/python docs/reference.py
	@$(BIN)/zensical build --clean --strict
	@rm -f site/*.py
	@echo "open site/index.html"

soak: $(DEV) ## ten minutes of random faults on three Kafka brokers; ARGS="--minutes 2", ARGS="--seed 7" to repeat
	@$(BIN)/python -m tests.services
	@$(BIN)/python -m tests.faults.soak $(ARGS)

clean: ## remove .venv and all caches of the checks
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site .cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BASE): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "inorder needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv module: install it (on Debian: apt install python3-venv)" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	@$(INSTALL) -e .
	@touch $@

$(COMPILED)/.done: $(DEV) hatch_build.py $(shell find src -name '*.py' -o -name '*.sql')
	@rm -rf build/compiled
	@HATCH_BUILD_HOOKS_ENABLE=1 $(UV) build --quiet --wheel --no-build-isolation --python $(BIN)/python \
		--out-dir build/compiled
	@$(BIN)/python -m zipfile -e build/compiled/*.whl $(COMPILED)
	@touch $@

$(DEV): $(BASE)
	@$(INSTALL) -e '.[all]' --group dev
	@touch $@
