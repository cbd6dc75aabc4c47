# The only interface to the project. `make` alone prints what there is.
# Recipes use relative paths only, so the checkout may lie in a folder with spaces in its name.

#? DATASET=ml-100k    ml-100k, ml-1m, ml-latest-small, jester, or a .csv, .tsv or .parquet file
DATASET ?= ml-100k
#? SPLIT=             leave-one-out, global-time, user-holdout (default: the study's own)
SPLIT ?=
#? SEEDS=             number of post-training seeds (default: the study's own)
SEEDS ?=
#? METHODS=           methods of make benchmark by label, beside BC: METHODS=ASFT,DPO (default: all)
METHODS ?=
#? DEVICE=            cpu, cuda, cuda:1 (default: cpu)
DEVICE ?=
#? DATA_ROOT=         a folder or zip that holds the ratings, where there is no network
DATA_ROOT ?=
#? STUDY=             a study's folder, for make report
STUDY ?=
#? WORKERS=           processes, one thread each (default: one per core; make sweep 2)
WORKERS ?=
#? TRIALS=            trials per method and noise in make sweep (default: 3 on ml-100k, else the file's)
TRIALS ?=
#? STORAGE=           postgresql://... for make sweep, shared with other machines
STORAGE ?=
#? SET=               fields to change, separated by spaces: SET="a.b=1 c=2"
SET ?=
#? PYTHON=            the Python 3.11, 3.12 or 3.13 to create .venv with (default: the first found)
PYTHON ?=
#? PIP_ARGS=          more options for pip install, e.g. an index: PIP_ARGS="--extra-index-url URL"
PIP_ARGS ?=

VENV := .venv/bin/python
STAMP := .venv/.stamp
PEERS := .venv-peers/bin/python
PEERS_STAMP := .venv-peers/.stamp
DOCS := .venv-docs/bin/python
DOCS_STAMP := .venv-docs/.stamp
FITS := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
TEST := OMP_NUM_THREADS=1 $(VENV) -m pytest -n 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test check docs benchmark study sweep dashboard report theory kills mutants quality fuzz bench bench-growth bench-peers live-demo live-bench doctor clean

help: ## print this
	@echo 'Usage: make TARGET [NAME=value ...]'; echo; echo 'Targets'
	@awk 'BEGIN {FS = ":[^#]*## "} /^[a-z-]+:[^#]*## / {printf "  %-18s %s\n", $$1, $$2}' Makefile
	@echo; echo 'Variables'
	@awk '/^#[?] / {sub(/^#[?] /, "  "); print}' Makefile

setup: $(STAMP) ## create .venv from requirements.lock; instant when it is up to date
	@[ -z "$(PYTHON)" ] || [ "$$("$(PYTHON)" -V 2>&1)" = "$$($(VENV) -V 2>&1)" ] || { \
	  echo "error: .venv is $$($(VENV) -V 2>&1) and PYTHON=$(PYTHON) is" \
	    "$$("$(PYTHON)" -V 2>&1 || true): run make clean first to change it" >&2; exit 2; }

# Every file is checked against the hashes of the lock. torch comes first and by itself, because pip
# prefers a build with a known hash to the wanted one. An index in PIP_ARGS has other builds than
# the lock names, so its torch is not checked; everything else is. Last come the CUDA packages that
# torch names: a CPU build has none.
INSTALL = $(VENV) -m pip install --disable-pip-version-check $(PIP_ARGS)
TORCH = $(shell sed -n 's/^\(torch==[^ ]*\).*/\1/p' requirements.lock)
CHECKED_TORCH = rm -rf .venv/torch && $(VENV) -m pip download --disable-pip-version-check $(PIP_ARGS) \
	  --no-deps -d .venv/torch "$(TORCH)" && \
	sed -n '/^torch==/,/[^\\]$$/p' requirements.lock >.venv/torch/lock && \
	$(INSTALL) --require-hashes --no-deps --no-index --find-links .venv/torch -r .venv/torch/lock && \
	rm -r .venv/torch

# The stamp marks a complete environment: it goes before an installation starts and comes back
# when it ended well. An environment without it is created again.
$(STAMP): requirements.lock setup.cfg pyproject.toml
	@python="$(PYTHON)"; \
	if [ -z "$$python" ]; then \
	  for candidate in python3 python3.13 python3.12 python3.11; do \
	    if "$$candidate" -c '$(FITS)' 2>/dev/null; then python=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "error: no Python 3.11, 3.12 or 3.13 (with venv) was found, python3 is" \
	      "$$(python3 -V 2>&1 || true): install one or give PYTHON=/path/to/python" >&2; exit 2; \
	  fi; \
	elif ! "$$python" -c '$(FITS)' 2>/dev/null; then \
	  echo "error: PYTHON=$$python is $$("$$python" -V 2>&1 || true):" \
	    "Python 3.11, 3.12 or 3.13 (with venv) is needed" >&2; exit 2; \
	fi; \
	if [ ! -e $(STAMP) ] || [ "$$($(VENV) -V 2>&1)" != "$$("$$python" -V 2>&1)" ]; then \
	  echo "creating .venv with $$("$$python" -V) and installing requirements.lock (minutes)"; \
	  rm -f $(STAMP); \
	  "$$python" -m venv --clear .venv; \
	fi
	@rm -f $(STAMP)
	$(if $(findstring index,$(PIP_ARGS)),$(INSTALL) --no-deps "$(TORCH)",$(CHECKED_TORCH))
	$(INSTALL) --require-hashes --no-deps -r requirements.lock
	$(INSTALL) "$(TORCH)"
	$(VENV) -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $(STAMP)

test: setup ## run the tests
	$(TEST)

check: setup ## lint, format check, types, then the tests
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(TEST)

docs: setup $(DOCS_STAMP) ## build the site of the documentation into build/site; a broken link is an error
	@$(VENV) docs/generate.py
	$(DOCS) -m sphinx -q -W --keep-going -n -c docs -d build/doctrees . build/site
	@echo 'open build/site/index.html'

$(DOCS_STAMP): docs/requirements.txt | setup
	$(VENV) -m venv --clear .venv-docs
	$(DOCS) -m pip install --disable-pip-version-check -q $(PIP_ARGS) -r docs/requirements.txt
	@touch $(DOCS_STAMP)

benchmark: setup ## run the main study and print its table
	$(VENV) -m recsys_posttrain run experiments/movielens_main.py --dataset "$(DATASET)" \
	  $(if $(SPLIT),--split "$(SPLIT)") $(if $(METHODS),--methods "$(METHODS)") \
	  $(if $(SEEDS),--seeds "$(SEEDS)") $(if $(WORKERS),--workers "$(WORKERS)") \
	  $(if $(DEVICE),--device "$(DEVICE)") $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") \
	  $(foreach assignment,$(SET),--set "$(assignment)")

study: setup ## measure true policy value under reward noise; Jester, or DATASET (40 minutes)
	$(VENV) -m recsys_posttrain run experiments/noise_vs_quality.py \
	  --dataset "$(if $(filter-out file,$(origin DATASET)),$(DATASET),jester)" \
	  $(if $(SEEDS),--seeds "$(SEEDS)") $(if $(WORKERS),--workers "$(WORKERS)") \
	  $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") \
	  $(foreach assignment,$(SET),--set "$(assignment)")

# On ML-100K a budget that ends within 15 minutes on 2 cores; elsewhere that of the file.
SMALL := $(if $(subst ml-100k,,$(DATASET)),,yes)
SWEEP := experiments/sweep_noise.py --dataset "$(DATASET)"
ifneq ($(STORAGE),)
# Not as an argument, which everybody on this machine can read: it may hold a password.
sweep dashboard: export RECSYS_POSTTRAIN_STORAGE := $(STORAGE)
endif
sweep: setup ## tune every algorithm with the same budget under reward noise (15 minutes)
	$(VENV) -m recsys_posttrain sweep $(SWEEP) \
	  --workers "$(or $(WORKERS),2)" \
	  $(if $(TRIALS)$(SMALL),--trials "$(or $(TRIALS),3)") \
	  $(if $(SEEDS)$(SMALL),--seeds "$(or $(SEEDS),2)") $(if $(DEVICE),--device "$(DEVICE)") \
	  $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)") --report

dashboard: setup ## show the trials of make sweep in a browser: DATASET, or STORAGE
	$(VENV) -m recsys_posttrain dashboard $(SWEEP)

report: setup ## write a study as one HTML page, STUDY=runs/NAME
	$(VENV) -m recsys_posttrain report "$(or $(STUDY),$(error give a study, e.g. make report STUDY=runs/movielens_main-ml-100k))"

theory: setup ## check the theory by simulation in small worlds with exact sums
	OMP_NUM_THREADS=1 $(VENV) experiments/theory_bounds.py

kills: setup ## kill a study and a sweep 150 times at random moments: nothing is lost (15 minutes)
	$(VENV) benchmarks/kills.py

mutants: setup ## break signs and detaches of the formulas one by one; a test must fail each time
	$(VENV) tests/mutants.py

# The first call trains, the second evaluates the same policies on validation targets.
QUALITY := experiments/quality.py --dataset ml-100k
quality: setup ## compare fast paths with the exact one: the same metrics within its seeds (40 minutes)
	$(VENV) -m recsys_posttrain run $(QUALITY) $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)")
	$(VENV) -m recsys_posttrain run $(QUALITY) --eval-split validation $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)")
	$(VENV) benchmarks/quality_check.py runs/quality-ml-100k-full-seeds runs/quality-ml-100k-full-seeds-validation
	$(VENV) -m recsys_posttrain run $(QUALITY) --devices 2 --methods "pretraining, exact" \
	  --output runs/two-processes $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)")
	$(VENV) benchmarks/quality_check.py runs/two-processes/quality-* --as quality-ml-100k-full-seeds

fuzz: setup ## run the commands on 6,000 broken and unusual inputs (10 minutes)
	$(VENV) tests/fuzz/fuzz.py

bench: setup ## measure speed and memory of our steps (minutes)
	@for file in $(filter-out %/gpu.py %/growth.py %/item_tables.py %/kills.py %/live_bench.py %/live_demo.py %/live_device.py %/peers.py %/quality_check.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$file"; $(VENV) "$$file" || exit 1; \
	done

bench-growth: setup ## measure how time and memory grow with items, events, length, users (30 minutes)
	$(VENV) benchmarks/growth.py

bench-peers: setup $(PEERS_STAMP) ## measure RecTools, RePlay and RecBole beside ours, in .venv-peers
	$(VENV) benchmarks/peers.py $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)")

# Each peer on its own, so that one that does not install is missing alone; the result then says so.
$(PEERS_STAMP): benchmarks/peers/requirements.txt | setup
	$(VENV) -m venv --clear .venv-peers
	@for peer in 'torch' 'rectools[torch]' 'replay-rec[torch]' 'recbole'; do \
	  echo "installing $$peer into .venv-peers"; \
	  $(PEERS) -m pip install --disable-pip-version-check -q $(PIP_ARGS) \
	    -c benchmarks/peers/requirements.txt "$$peer" \
	    || echo "error: $$peer was not installed; make bench-peers goes on without it" >&2; \
	done
	@touch $(PEERS_STAMP)

live-demo: setup ## play a live event with 500 devices and a killed gateway (2 minutes)
	@$(VENV) benchmarks/live_demo.py

# Needs redis-server. 5,000 sockets: a machine that allows fewer open files says so.
live-bench: setup ## kill the parts of a live service under 5,000 devices; needs redis-server (6 minutes)
	$(VENV) benchmarks/live_bench.py --output benchmarks/results/live_bench

doctor: setup ## check this machine and say what to do about each problem
	@$(VENV) -m recsys_posttrain doctor

clean: ## remove .venv, .venv-docs, .venv-peers and caches; keep runs, results and downloaded data
	rm -rf .venv .venv-docs .venv-peers build recsys_posttrain.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
