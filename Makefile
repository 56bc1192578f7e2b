# The few commands that a reader needs; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
# dvc.yaml's commands say `python`, and must find the environment's
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What a user has set for other work, and what would find other code or install elsewhere
unexport $(filter PYTHON%,$(.VARIABLES)) PIP_TARGET PIP_PREFIX PIP_ROOT
export PYTHONPATH := src
export PIP_USER := 0
# What .venv is made of: the folder that it lies in, its interpreter, the packages; the stamp holds the same
MADE_OF = .venv/bin/python -I -c 'import sys; print(sys.prefix, sys.base_prefix, *sys.version_info[:3])' 2>/dev/null; \
	cat requirements.lock pyproject.toml | cksum

.PHONY: help venv repro try plan smoke new verify check test readme lint bench dashboard clean-cache clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

venv: .venv/.installed  ## make .venv with the exact packages of requirements.lock

# Made anew where it is not what the stamp says, as in a folder that was moved or copied
ifneq ($(shell $(MADE_OF)),$(shell cat .venv/.installed 2>/dev/null))
.PHONY: .venv/.installed
endif

# All cores write bytecode, of which pip uses one; else processes that begin together would each write the same.
# The stamp comes last, so an install that was killed is begun again. The old environment goes first, as $(PYTHON) may be
# its own; of a link what it leads to stays, as it may be another folder's.
.venv/.installed:
	@rm -rf .venv
	@command -v $(PYTHON) >/dev/null || { echo "PYTHON: got $(PYTHON), no such command; expected Python 3.11 or newer, as in: make venv PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit("PYTHON: got $(PYTHON), Python %d.%d; expected 3.11 or newer, as in: make venv PYTHON=python3.12" % v[:2])'
	@echo "installing the packages of requirements.lock into .venv; this takes minutes"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -I -m pip install -qq --disable-pip-version-check --no-compile -r requirements.lock
	@.venv/bin/python -I -m pip install -qq --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@.venv/bin/python -I -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true  # a file for another Python
	@{ $(MADE_OF); } > $@

repro: venv  ## run what is out of date, then print the verdicts
	@python -m tools.check
	@dvc repro | grep --line-buffered -v "^Use .dvc push. to send"; exit $${PIPESTATUS[0]}  # there is no remote to push to
	@python stages/compare.py --show

try: venv  ## a first look in a minute: make try PENALTY=name [STRENGTH=low:high] [COUPLING=decoupled] [PNG=look.png]
	@python -m tools.first_look

plan: venv  ## what repro would run, what of it is kept, and how long it takes
	@python -m tools.plan

smoke: venv  ## run all stages on small settings in a temporary copy
	@python -m tools.smoke

new: venv  ## begin a penalty: its file, its test and its arm, as in: make new PENALTY=name
	@python -m tools.new

verify: venv  ## recompute everything in a temporary clone and compare with the committed metrics
	python -m tools.verify

check: lint  ## lint, check types, run the fast tests
	python -m pytest --quiet --numprocesses 2 --dist loadfile -m "not slow"

test: lint  ## lint, check types, run all tests with coverage
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10 --cov --cov-report=term-missing

readme: venv  ## write the results into README.md and docs from metrics/
	python -m tools.readme

lint: venv  ## ruff and mypy
	ruff check .
	ruff format --check .
	mypy --num-workers 2

bench: venv  ## time the hot paths
	python -m benchmarks

dashboard: venv  ## browse the finished studies with optuna-dashboard
	python -m tools.dashboard

clean-cache:  ## forget finished runs (.cache/svvr); the next repro trains anew what it needs
	@rm -rf .cache/svvr

clean:  ## remove the environment, caches and test leftovers; data and results stay
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* dvc_plots build src/*.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
