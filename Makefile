# Everything a newcomer needs: `make demo`, `make test`. Needs Python 3.11+ with headers, g++ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test check format wheel s3 s3-stop clean
help: ## what the targets do
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## make .venv from the pinned versions

$(INSTALLED): pyproject.toml setup.py constraints.txt $(wildcard stego_core/*/*.cpp stego_core/*/*.hpp)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed, $$($(PYTHON) --version) was found; try make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned versions (some minutes, about 6 GB) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps datumaro==1.13.12
	@$(BIN)/python -c 'import sys; from stego_core.masks import crf; sys.exit(not crf.COMPILED)' \
		|| echo "the CRF's lattice was not compiled (it needs g++ and Python's headers): numpy computes it, in ten times the time" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt pydensecrf2 \
		|| echo "pydensecrf2 does not build here (it needs g++, and a Python that Cython 0.29 knows): --crf-engine pydensecrf is missing, all else works" >&2
	@touch $@

demo: $(INSTALLED) ## run the whole pipeline on a small generated corpus (OPTIONS="--offline")
	$(BIN)/stego demo --workspace demo/workspace $(OPTIONS)

.PHONY: backbone
backbone: $(INSTALLED) ## train the demo's bundled backbone anew, from generated scenes alone
	$(BIN)/python -m flows.demo.demo_corpus demo/backbone-scenes 1500 2022
	$(BIN)/stego pretrain --config infra/backbone/scenes.toml \
		--images demo/backbone-scenes/images --workspace demo/backbone

.PHONY: server worker deploy stop
server: $(INSTALLED) ## an own Prefect server in the background (PORT=4200, DATABASE=sqlite)
	@$(BIN)/python infra/prefect/services.py server

worker: $(INSTALLED) ## a worker in the background, kept alive; closes lost runs
	@$(BIN)/python infra/prefect/services.py worker

deploy: $(INSTALLED) ## create or update what infra/deployment.toml says; tells what changes
	@$(BIN)/python infra/prefect/services.py deploy

stop: ## end worker and server
	@$(BIN)/python infra/prefect/services.py stop

test: $(INSTALLED) ## run the tests but for the long ones
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not long'

.PHONY: test-long
test-long: $(INSTALLED) ## kills, several workers, PostgreSQL, the wheel, the demo: some minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m long

.PHONY: test-kernels
test-kernels: $(INSTALLED) ## the tests under the arithmetic of other processors (TESTS="tests/stego_core tests/tasks")
	$(BIN)/python tests/services/kernels.py $(or $(TESTS),tests/stego_core tests/tasks)

.PHONY: chaos
chaos: $(INSTALLED) ## kill worker, scheduler, server and driver 20 times in a run
	STEGO_CHAOS_KILLS=20 $(BIN)/python -m pytest tests/chaos

check: $(INSTALLED) ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

BENCHED := $(VENV)/.benched

$(BENCHED): $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

.PHONY: bench
bench: $(BENCHED) ## every benchmark (IMAGES= LABELS= PHOTOS= BACKBONE= WEIGHTS= LAYER= BENCH=)
	$(BIN)/python benchmarks/bench.py $(if $(IMAGES),--images $(IMAGES)) \
		$(if $(LABELS),--labels $(LABELS)) $(if $(PHOTOS),--photos $(PHOTOS)) \
		$(if $(BACKBONE),--backbone $(BACKBONE)) $(if $(WEIGHTS),--weights $(WEIGHTS)) \
		$(if $(LAYER),--layer $(LAYER)) $(BENCH)

.PHONY: quality
quality: $(INSTALLED) ## scores on labelled corpora (CORPORA="DIR ..." SEEDS=3 LIMIT= OPTIONS="--published, or of stego run")
	$(BIN)/python benchmarks/quality.py $(CORPORA) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(LIMIT),--limit $(LIMIT)) $(OPTIONS)

.PHONY: quality-patches
quality-patches: $(INSTALLED) ## all methods patch by patch, in minutes (CORPORA= KEEP=DIR BACKBONE= WEIGHTS= LAYER= SEEDS=3)
	$(BIN)/python benchmarks/minima.py $(CORPORA) --keep $(KEEP) --backbone $(BACKBONE) \
		--weights $(WEIGHTS) $(if $(LAYER),--layer $(LAYER)) $(if $(SEEDS),--seeds $(SEEDS))

.PHONY: docs pictures
docs: $(INSTALLED) ## the documents as a site that opens from disk: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file infra/docs/mkdocs.yml

pictures: $(INSTALLED) ## docs/images anew, from the demo and the notes; needs chromium
	test -d demo/pictures/reports || $(BIN)/stego demo --offline --workspace demo/pictures
	$(BIN)/python infra/docs/pictures.py --workspace demo/pictures

VARIANT ?= cpu
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)

.PHONY: image image-try
image: ## build stego-flows:cpu with Docker (TORCH_INDEX= or VARIANT=gpu; see infra/docker)
	docker build --file infra/docker/Dockerfile --tag stego-flows:$(VARIANT) \
		--build-arg VARIANT=$(VARIANT) --build-arg TORCH_INDEX=$(TORCH_INDEX) \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) \
		--build-arg CREATED=$(shell date -u +%Y-%m-%dT%H:%M:%SZ) .

image-try: $(INSTALLED) ## build an image without Docker or a registry, and run the demo in it
	$(BIN)/python tests/image/build_and_try.py $(if $(SECONDS_LEFT),--seconds $(SECONDS_LEFT))

format: $(INSTALLED) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED) ## build dist/*.whl
	rm -rf build
	$(BIN)/python -m build --wheel

.PHONY: wheels
wheels: $(INSTALLED) ## dist/*.whl for each common Python, in containers (needs Docker; see pyproject.toml)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt cibuildwheel
	$(BIN)/cibuildwheel --output-dir dist

s3: $(INSTALLED) ## start a local S3 server (OpenStack Swift) on loopback
	@$(BIN)/python infra/s3/swift.py start

s3-stop: $(INSTALLED) ## stop the local S3 server; its data stay in .services/s3
	@$(BIN)/python infra/s3/swift.py stop

clean: ## remove what the targets made, except .venv
	rm -rf demo build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
