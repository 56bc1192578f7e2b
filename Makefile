SHELL := /bin/bash
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONPATH := src
SMALL = -S tuning.studies=3 -S tuning.trials=4 -S tuning.startup_trials=2 -S final.seeds=2 -S budget.replicates=3 \
	-S budget.points=4 -S diagnose.seeds=1 -S diagnose.tolerance=0.05 -S replicate.seeds=2 -S dose_response.seeds=2

.PHONY: help venv repro try verdicts quick survey verify check test lint readme bench clean-cache
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14
venv: .venv/.installed  ## make .venv with the exact packages of requirements.lock
.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit("PYTHON: got %d.%d, expected 3.11 or newer" % v[:2])'
	@echo "installing the packages of requirements.lock into .venv; this takes minutes" && rm -rf .venv && $(PYTHON) -m venv .venv
	@sed /^#/d requirements.lock | xargs -P 2 -n 40 .venv/bin/pip install -qq --disable-pip-version-check --no-compile --no-deps  # two at once
	@.venv/bin/pip install -qq --disable-pip-version-check --no-build-isolation -r requirements.lock --editable .
	@.venv/bin/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib || true  # all cores; else each process would do it
	@touch $@
repro: venv  ## run what is out of date, then print the answer
	@python -m tools.repro && python -m tools.answer
try: venv  ## a first look in a minute: make try PENALTY=name [STRENGTH=low:high] [COUPLING=decoupled] [PNG=look.png]
	@python -m tools.try_penalty $(filter-out PYTHON=%,$(MAKEOVERRIDES))
verdicts: venv  ## print all effects, intervals, verdicts and flags
	@python -m tools.answer table
quick: venv  ## run every stage on small settings in a temporary copy, in minutes [EPOCHS=2]: no verdict that counts
	@name=try-$$RANDOM; dvc exp run --temp $(SMALL) --name $$name -S training.epochs=$(or $(EPOCHS),6) -S replicate.epochs=$(or $(EPOCHS),6) && \
		echo "of 3 studies of 4 trials, so no verdict that counts:" && \
		git show $$(git for-each-ref --format='%(refname)' | grep $$name):metrics/verdicts.json
survey: venv  ## run the league's cells: make survey [REGIME=name] [PENALTY=name]
	@python -c 'import sys; from svvr import survey; survey.check(*sys.argv[1:])' '$(REGIME)' '$(PENALTY)'
	@dvc repro -k --glob 'survey/dvc.yaml:cell@$(or $(REGIME),*)-none' 'survey/dvc.yaml:cell@$(or $(REGIME),*)-$(or $(PENALTY),*)'; found=$$?; dvc repro -s survey/dvc.yaml:league && exit $$found
verify: venv  ## recompute everything in a temporary clone and compare the metrics byte for byte
	@copy=$$(mktemp -d) && git clone -q . $$copy && ln -s $(CURDIR)/.venv $$copy/.venv && cd $$copy && dvc repro -f && git diff --stat --exit-code -- metrics ':!metrics/provenance' && rm -rf $$copy
check: lint  ## lint, types, fast tests
	python -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow"
test: lint  ## lint, types, all tests
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10
lint: venv
	ruff check . && ruff format --check . && mypy
readme: venv  ## write the results into README.md and docs/results.md
	python -m tools.readme
bench: venv  ## time the hot paths beside a plain loop and the best peers
	python -m benchmarks
clean-cache:  ## forget finished runs, so that the next repro trains anew
	rm -rf .cache/svvr
