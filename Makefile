# Everything a newcomer needs: `make demo`, `make test`. Needs Python 3.11+, gcc and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install demo test check format wheel clean
help: ## what the targets do
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## make .venv from the pinned versions

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed, $$($(PYTHON) --version) was found; try make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned versions (some minutes, about 6 GB) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED) ## run the whole pipeline on a small generated corpus
	$(BIN)/stego demo --workspace demo/workspace

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest

check: $(INSTALLED) ## ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(INSTALLED) ## build dist/*.whl
	rm -rf build
	$(BIN)/python -m build --wheel

clean: ## remove what the targets made, except .venv
	rm -rf demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
