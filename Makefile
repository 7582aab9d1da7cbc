# Everything starts here: `make help`. Each target first prepares what it needs, from nothing but
# a Python (3.11 or later) with venv. Stamps in .venv say which pins are installed.

PYTHON ?= python3
BIN := .venv/bin
STAMPS := .venv/.stamps

# pip checks every download against the hashes. Python compiles a module when it is first used:
# all of them at once would double the wait for the demo.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --no-input
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --custom-compile-command "make requirements" \
	$(if $(UPGRADE),--upgrade)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all check bench docs requirements

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMPS)/server ## a whole fleet on this machine: tasks, agents, reviews, merges
	$(BIN)/fleet demo

test: $(STAMPS)/dev ## the tests; what needs a part that this machine lacks is skipped and said
	$(BIN)/pytest -q -m "not full"

test-all: $(STAMPS)/dev ## installs the missing parts where it may, then runs every test
	scripts/setup-parts
	FLEET_REQUIRE_ALL=1 $(BIN)/pytest -q

check: $(STAMPS)/dev ## format, lint, types, import law, documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.check_docs
	$(BIN)/python -m scripts.generate_docs --check

bench: $(STAMPS)/dev ## the benchmarks; ONLY=name runs one and renews its entry
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

docs: $(STAMPS)/dev ## regenerates what is generated in docs/
	$(BIN)/python -m scripts.generate_docs

requirements: $(STAMPS)/dev ## pins what pyproject.toml and requirements/*.in ask for; UPGRADE=1 renews
	$(COMPILE) pyproject.toml -o requirements/base.txt
	$(COMPILE) pyproject.toml --extra server -c requirements/base.txt -o requirements/server.txt
	$(COMPILE) requirements/build.in -c requirements/server.txt -o requirements/build.txt
	$(COMPILE) requirements/dev.in -c requirements/server.txt -c requirements/build.txt \
		-o requirements/dev.txt

$(STAMPS)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "agent-fleet needs Python 3.11 or later, and $(PYTHON) is not one." >&2; \
		echo "Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/server: $(STAMPS)/python requirements/build.txt requirements/server.txt pyproject.toml
	@echo "preparing .venv: what the program needs"
	@$(PIP_INSTALL) --require-hashes -r requirements/build.txt -r requirements/server.txt
	@$(PIP_INSTALL) --no-build-isolation --no-deps --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/server requirements/dev.txt
	@echo "preparing .venv: what the tests and checks need"
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@
