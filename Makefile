# Each target does its own set-up: Python 3.11 or newer and make are enough.
#
#     make demo    train an agent in a maze, score it, film it (a few minutes on two cores)
#     make test    the test suite
#     make lint    ruff, mypy and the rest of what pre-commit runs
#
# The virtual environment (.venv) is brought up to date only when pyproject.toml or constraints.txt changed.
# Other settings:  make test ARGS="-k maze"   make demo PYTHON=python3.12   make test VENV=/tmp/venv

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
WORKERS ?= 2
ARGS ?=
DECLARED := pyproject.toml constraints.txt
BIN := $(abspath $(VENV))/bin
unexport PYTHONDONTWRITEBYTECODE # packages are compiled when first imported, not all at installation

.PHONY: help demo test lint docs setup clean

help:
	@sed -n '1,8s/^# \{0,1\}//p' Makefile

demo: $(VENV)/.demo
	$(BIN)/python -m daedalus demo $(ARGS)

test: $(VENV)/.dev browser
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(ARGS)

lint: $(VENV)/.dev
	PATH="$(BIN):$$PATH" $(BIN)/pre-commit run --all-files

.PHONY: browser
browser: # for the tests that need one; where it cannot be had they are skipped, and say so
	@command -v chromium chromium-browser chrome >/dev/null 2>&1 || { \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		echo "installing chromium and chromium-driver ..." && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends \
			chromium chromium-driver >/dev/null; } || echo "no chromium: browser tests are skipped"

docs: $(VENV)/.dev
	$(BIN)/python docs/build.py

setup: $(VENV)/.dev

$(VENV)/.demo: $(DECLARED)
	@$(MAKE) --no-print-directory extras EXTRAS=train,watch
	@touch $@

$(VENV)/.dev: $(DECLARED)
	@$(MAKE) --no-print-directory extras EXTRAS=all,dev
	@touch $@ $(VENV)/.demo

.PHONY: extras
extras:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) || { \
		echo "the venv module is needed (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@echo "installing daedalus[$(EXTRAS)] into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
