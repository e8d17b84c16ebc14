# spatialprobe: every target sets up what it needs. `make help` lists targets and variables.

VENV       ?= .venv
PYTHON     ?= python3
TORCH      ?= any
TORCH_INDEX ?=
EXTRAS     ?= extract,report,dev

DATASET    ?= rooms
KIND       ?= $(DATASET)
PRESET     ?=
RAW        ?=
MODEL      ?=
TASK       ?=
LAYERS     ?= all
NOISE      ?=
WORKERS    ?= 0
TEST_JOBS  ?= auto
FILE       ?=
ARGS       ?=

PY         := $(VENV)/bin/python
RUN        := $(VENV)/bin/spatialprobe
TASKS      := $(sort $(notdir $(patsubst %/__init__.py,%,$(wildcard $(addsuffix /probe/tasks/*/__init__.py,. $(subst :, ,$(SPATIALPROBE_PLUGINS)))))))
TORCH_any  := torch==2.13.0
TORCH_cpu  := torch==2.13.0+cpu
TORCH_cuda := torch==2.13.0
comma      := ,
SETUP_KEY   = $(VENV)/.ready-$(TORCH)-$(subst $(comma),-,$(EXTRAS))
given       = $(if $(2),$(1)=$(2))

need         = @test -n "$($(1))" || { echo "error: $(1) must be given, for example: make $(2)"; exit 2; }

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The demo's dataset, sources and probes; no weights are fetched. Every command is printed before it runs.
DEMO         = $(if $(filter ci,$(PRESET)),rooms,rooms-$(or $(PRESET),demo))
DEMO_SOURCES = cogvideox-t2v-2b-tiny-random qwen3-vl-2b-tiny-random pixels position oracle-code-classes oracle-depth-rays oracle-code-classes+oracle-depth-rays
DEMO_PROBES  = model="$(DEMO_SOURCES)" dataset=$(DEMO) seeds=0,1,2 profile=smoke workers=2
heading      = @printf '\n\033[1m%s\033[0m\n' "$(1)"

demo: setup ## first result: no data, weights or GPU needed; 5 to 15 minutes on two cores the first time, seconds after that
	$(call heading,1 of 4: procedural rooms with exact ground truth)
	$(RUN) data prepare kind=rooms preset=$(or $(PRESET),demo) workers=$(WORKERS)
	$(call heading,2 of 4: features of two untrained models$(comma) of pixels and positions$(comma) and of ground truth in two halves)
	$(RUN) extract run model=cogvideox,qwen3-vl dataset=$(DEMO) weights=random size=tiny layers=all workers=2
	$(RUN) extract run model=pixels,position,oracle-code-classes,oracle-depth-rays dataset=$(DEMO)
	$(call heading,3 of 4: small probes on each$(comma) and on both halves of the ground truth fused)
	$(RUN) probe sweep task=tagging layers=even4 $(DEMO_PROBES) $(ARGS)
	$(RUN) probe sweep task=instance layers=paper $(DEMO_PROBES) $(ARGS)
	$(RUN) probe sweep task=geometry layers=paper $(DEMO_PROBES) $(ARGS)
	$(call heading,4 of 4: report)
	$(RUN) probe report
	@printf '\n%s\n' "Next, for example, all layers of one model: make sweep TASK=geometry MODEL=qwen3-vl-2b-tiny-random DATASET=$(DEMO) ARGS=profile=smoke"

help: ## this page
	@echo "make <target> VARIABLE=value ..."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables"
	@echo "  DATASET=$(DATASET)    which dataset          PRESET=    its named set of values (rooms: nano, ci, demo, query, tutorial)"
	@echo "  KIND=            data: rooms, scannet, dl3dv or video, where DATASET= is another name; default $(DATASET)"
	@echo "  RAW=             data: folder or file of the raw recordings, for scannet, dl3dv and video"
	@echo "  WORKERS=$(WORKERS)        processes, 0 = one per core; extract: one per GPU"
	@echo "  MODEL=           one or several, such as \"wan-t2v-14b qwen3-vl-8b\"; spatialprobe extract models lists them"
	@echo "  TASK=            $(TASKS)"
	@echo "  LAYERS=$(LAYERS)       sweep: all that the store has, even4, paper, or blocks such as 19,21    NOISE= levels, default all"
	@echo "  ARGS=\"key=value ...\"  any further options; spatialprobe <stage> <command> --help lists them"
	@echo "  TORCH=$(TORCH)        any: what pip finds, cpu: the build without CUDA, cuda: the build with CUDA"
	@echo "  TORCH_INDEX=     address of a package index with that build of PyTorch, if the default has none"
	@echo "  TEST_JOBS=$(TEST_JOBS)   test processes; auto: one per core"
	@echo "  EXTRAS=$(EXTRAS)  optional dependencies; probes alone need none of them"
	@echo "  SPATIALPROBE_HOME  where everything produced goes, default ./artifacts"

setup: $(SETUP_KEY) ## virtual environment with all dependencies, versions from constraints.txt
	@$(if $(filter setup,$(MAKECMDGOALS)),printf '%s\n' "source $(VENV)/bin/activate   # makes spatialprobe a command of this shell",:)

$(SETUP_KEY): pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit("spatialprobe needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make setup PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing PyTorch and dependencies into $(VENV) (a few minutes the first time)"
	@$(PY) -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt "$(TORCH_$(TORCH))"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@rm -f $(VENV)/.ready-*
	@touch $@

data: setup ## prepare a dataset: DATASET=rooms PRESET=nano|ci|query|tutorial, DATASET=scannet|dl3dv RAW=/path, or KIND=video DATASET=name RAW=/path
	@$(RUN) data prepare kind=$(KIND) $(if $(filter-out file,$(origin DATASET)),$(if $(filter-out $(KIND),$(DATASET)),dataset=$(DATASET))) $(call given,preset,$(PRESET)) $(if $(RAW),raw="$(RAW)") workers=$(WORKERS) $(ARGS)

extract: setup ## features of a frozen backbone into a store: MODEL=cogvideox DATASET=rooms
	$(call need,MODEL,extract MODEL=cogvideox)
	@$(RUN) extract run model="$(MODEL)" dataset=$(DATASET) workers=$(WORKERS) $(ARGS)

probe: setup ## train and evaluate a probe on stored features: TASK= MODEL=
	$(call need,TASK,probe TASK=$(firstword $(TASKS)))
	@$(RUN) probe train task=$(TASK) dataset=$(DATASET) $(if $(MODEL),model="$(MODEL)") $(ARGS)

sweep: setup ## layer and noise curves from stored features: TASK= MODEL=cogvideox LAYERS=all|even4|paper
	$(call need,TASK,sweep TASK=$(firstword $(TASKS)) MODEL=cogvideox)
	@$(RUN) probe sweep task=$(TASK) dataset=$(DATASET) $(if $(MODEL),model="$(MODEL)") layers=$(LAYERS) $(call given,noise,$(NOISE)) workers=$(WORKERS) $(ARGS)

report: setup ## tables, curves and pictures of all finished probes: artifacts/report/index.html
	@$(RUN) probe report $(ARGS)

controls: setup ## what a fusion must beat: MODEL="wan-t2v-14b qwen3-vl-8b"
	$(call need,MODEL,controls MODEL='wan qwen3-vl')
	@$(RUN) probe controls model="$(MODEL)" dataset=$(DATASET) $(ARGS)

fuse: setup ## join stores into one source: MODEL="wan-t2v-14b qwen3-vl-8b"
	$(call need,MODEL,fuse MODEL='wan qwen3-vl')
	@$(RUN) fusion fuse model="$(MODEL)" dataset=$(DATASET) $(ARGS)

test: setup ## all tests that run in minutes on two cores, without GPU, weights or network
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --maxprocesses 8 --dist loadfile $(ARGS)

test-full: setup ## the long versions too
	@OMP_NUM_THREADS=1 $(PY) -m pytest -n $(TEST_JOBS) --maxprocesses 8 --dist loadfile --full $(ARGS)

lint: setup ## style and common mistakes
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet . || { echo "fix: make format"; exit 1; }

format: setup ## rewrite the code in the project's style
	@$(PY) -m ruff format --quiet .
	@$(PY) -m ruff check --fix --quiet .

typecheck: setup ## static types
	@$(PY) -m mypy

check: lint typecheck test ## lint, typecheck and test

bench-data: setup ## price of the digests of a prepared dataset
	@$(PY) -m benchmarks.dataset $(ARGS)

bench-rooms: setup ## speed of the embedded renderer
	@$(PY) -m benchmarks.rooms $(ARGS)

bench-extract: setup ## speed of extraction against bare forwards
	@$(PY) -m benchmarks.extract $(ARGS)

bench-weights: setup ## price of hashing weights against SHA-256 of bytes in memory
	@$(PY) -m benchmarks.weights $(ARGS)

bench-probe: setup ## speed of probe training against a plain implementation of the published recipe
	@$(PY) -m benchmarks.probe $(ARGS)

bench-scout: setup ## how the ranking of probe scout agrees with trained probes
	@$(PY) -m benchmarks.scout $(ARGS)

bench-results: setup ## what the digests of runs and checkpoints cost
	@$(PY) -m benchmarks.results $(ARGS)

bench-statistics: setup ## coverage of intervals, size and power of tests on simulated scores
	@$(PY) -m benchmarks.statistics $(ARGS)

bench-fusion: setup ## cost of fusing while reading
	@$(PY) -m benchmarks.fusion $(ARGS)

bench-sens: setup ## speed of importing ScanNet recordings against reading whole files
	@$(PY) -m benchmarks.sens $(ARGS)

bench-cache: setup ## speed of the feature store against raw reads
	@$(PY) -m benchmarks.cache $(ARGS)

baseline: setup ## digests of all that fixed commands compute: writes FILE=, or compares with FILE= if it is there
	$(call need,FILE,baseline FILE=before.json)
	@$(PY) -m benchmarks.values $(if $(wildcard $(FILE)),compare,write) "$(FILE)" $(ARGS)

clean: ## remove the environment and caches; datasets, features and results in artifacts/ stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './artifacts/*' -prune -exec rm -rf {} +

.PHONY: help demo setup data extract probe sweep report controls fuse test test-full lint format typecheck check bench-data bench-rooms bench-extract bench-weights bench-probe bench-scout bench-results bench-fusion bench-sens bench-statistics bench-cache baseline clean
