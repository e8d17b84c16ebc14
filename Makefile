# spatialprobe: every target sets up what it needs. `make help` lists targets and variables.

VENV       ?= .venv
PYTHON     ?= python3
TORCH      ?= any
TORCH_INDEX ?=
EXTRAS     ?= extract,report,dev

DATASET    ?= rooms
PRESET     ?=
MODEL      ?=
TASK       ?=
MODELS     ?=
WORKERS    ?= 0
TEST_JOBS  ?= auto
ARGS       ?=

PY         := $(VENV)/bin/python
TORCH_any  := torch==2.13.0
TORCH_cpu  := torch==2.13.0+cpu
TORCH_cuda := torch==2.13.0
comma      := ,
SETUP_KEY   = $(VENV)/.ready-$(TORCH)-$(subst $(comma),-,$(EXTRAS))
given       = $(if $(2),$(1)=$(2))

need         = @test -n "$($(1))" || { echo "error: $(1) must be given, for example: make $(2)"; exit 2; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## this page
	@echo "make <target> VARIABLE=value ..."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables"
	@echo "  DATASET=$(DATASET)    which dataset          PRESET=    its named set of values (rooms: nano, ci, query, tutorial)"
	@echo "  WORKERS=$(WORKERS)        processes, 0 = one per core; extract: one per GPU"
	@echo "  MODEL=  MODELS=  backbones; python -m extract models lists them"
	@echo "  TASK=            tagging, instance or geometry"
	@echo "  ARGS=\"key=value ...\"  any further options; python -m <stage> <command> --help lists them"
	@echo "  TORCH=$(TORCH)        any: what pip finds, cpu: the build without CUDA, cuda: the build with CUDA"
	@echo "  TORCH_INDEX=     address of a package index with that build of PyTorch, if the default has none"
	@echo "  TEST_JOBS=$(TEST_JOBS)   test processes; auto: one per core"
	@echo "  EXTRAS=$(EXTRAS)  optional dependencies; probes alone need none of them"
	@echo "  SPATIALPROBE_HOME  where everything produced goes, default ./artifacts"

setup: $(SETUP_KEY) ## virtual environment with all dependencies, versions from constraints.txt

$(SETUP_KEY): pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit("spatialprobe needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make setup PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing PyTorch and dependencies into $(VENV) (a few minutes the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt "$(TORCH_$(TORCH))"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@rm -f $(VENV)/.ready-*
	@touch $@

data: setup ## prepare a dataset: DATASET=rooms PRESET=nano|ci|query|tutorial
	@$(PY) -m data prepare dataset=$(DATASET) $(call given,preset,$(PRESET)) workers=$(WORKERS) $(ARGS)

extract: setup ## features of a frozen backbone into a store: MODEL=cogvideox DATASET=rooms
	$(call need,MODEL,extract MODEL=cogvideox)
	@$(PY) -m extract run model=$(MODEL) dataset=$(DATASET) workers=$(WORKERS) $(ARGS)

probe: setup ## train and evaluate a probe on stored features: TASK=tagging|instance|geometry MODEL=
	$(call need,TASK,probe TASK=geometry)
	@$(PY) -m probe train task=$(TASK) dataset=$(DATASET) $(call given,model,$(MODEL)) $(ARGS)

controls: setup ## what a fusion must beat: MODELS="wan-t2v-14b qwen3-vl-8b"
	$(call need,MODELS,controls MODELS="wan qwen3-vl")
	@$(PY) -m fusion controls models="$(MODELS)" dataset=$(DATASET) $(ARGS)

fuse: setup ## join stores into one source: MODELS="wan-t2v-14b qwen3-vl-8b"
	$(call need,MODELS,fuse MODELS="wan qwen3-vl")
	@$(PY) -m fusion fuse models="$(MODELS)" dataset=$(DATASET) $(ARGS)

test: setup ## all tests that run in minutes on two cores, without GPU, weights or network
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --dist loadfile $(ARGS)

test-full: setup ## the long versions too
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --dist loadfile --full $(ARGS)

lint: setup ## style and common mistakes
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "fix: make format"; exit 1; }

format: setup ## rewrite the code in the project's style
	@$(PY) -m ruff format --quiet .
	@$(PY) -m ruff check --fix --quiet .

typecheck: setup ## static types
	@$(PY) -m mypy

check: lint typecheck test ## lint, typecheck and test

bench-rooms: setup ## speed of the embedded renderer
	@$(PY) -m benchmarks.rooms $(ARGS)

bench-extract: setup ## speed of extraction against bare forwards
	@$(PY) -m benchmarks.extract $(ARGS)

bench-probe: setup ## speed of probe training against a plain implementation of the published recipe
	@$(PY) -m benchmarks.probe $(ARGS)

bench-fusion: setup ## cost of fusing while reading
	@$(PY) -m benchmarks.fusion $(ARGS)

bench-cache: setup ## speed of the feature store against raw reads
	@$(PY) -m benchmarks.cache $(ARGS)

clean: ## remove the environment and caches; datasets, features and results in artifacts/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './artifacts/*' -prune -exec rm -rf {} +

.PHONY: help setup data extract probe controls fuse test test-full lint format typecheck check bench-rooms bench-extract bench-probe bench-fusion bench-cache clean
