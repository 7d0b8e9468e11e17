# make quickstart and make test do all their own set-up: a virtual environment in .venv, with pip.
PYTHON ?= python3.11
# A CPU-only machine: TORCH_INDEX=https://download.pytorch.org/whl/cpu saves gigabytes of CUDA libraries.
TORCH_INDEX ?=

BIN := .venv/bin
# Python compiles what is imported; pip would compile all of it, which takes as long as the rest of the installation.
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# Each process of the tests would compile the same; what most of them import is compiled once before, by all processors.
COMPILE := python -m compileall -q -j 0 -x test azure mlflow promptflow scipy sympy torch
TESTS := pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow and not browser" $(ARGS)

# Where it is set, each of the hundreds of processes that the tests start would compile phi3flow again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: quickstart test test-slow test-azure test-browser coverage check check-azure check-openai bench format clean

quickstart: .venv/.local
	$(BIN)/phi3flow quickstart $(ARGS)

test: .venv/.dev
	$(BIN)/$(TESTS)

test-slow: .venv/.dev
	$(BIN)/pytest -m slow $(ARGS)

# All of Azure's tests, the slow ones too: every write of every verb killed, failed, and lost.
test-azure: .venv/.dev
	$(BIN)/pytest -n 2 --dist loadfile tests/azure $(ARGS)

test-browser: .venv/.dev
	$(BIN)/pytest -n 2 --dist loadfile -m browser $(ARGS)

coverage: .venv/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=90

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What the verbs send to Azure, held against Microsoft's OpenAPI files: AZURE_SPECS_DIR is the folder they are in.
check-azure: .venv/.dev
	$(BIN)/python -m tests.azure.check_azure

# The newest openai package, or the one that ARGS asks for (openai==1.106.0), installed into an environment of its own:
# by itself and under our verbs against the emulated Azure OpenAI.
check-openai: .venv/.dev
	$(BIN)/python -m tests.azure.check_openai $(ARGS)

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.bench
	$(BIN)/python benchmarks/serving.py --seconds 3
	$(BIN)/python benchmarks/batch_run.py --lines 200

clean:
	rm -rf .venv .quickstart build src/*.egg-info

# The pip that comes with Python 3.11 takes a minute longer to find out what fits together.
.venv/bin/pip:
	$(PYTHON) -m venv --upgrade-deps .venv

.venv/.torch: .venv/bin/pip
	$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch)
	touch $@

.venv/.local: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local]'
	touch $@

.venv/.dev: .venv/.torch pyproject.toml constraints.txt
	$(INSTALL) --editable '.[local,azure,judge,ray,dev]'
	cd .venv/lib/python3*/site-packages && ../../../bin/$(COMPILE)
	touch .venv/.local $@

.venv/.bench: .venv/.dev
	$(INSTALL) --editable '.[local,azure,judge,ray,dev,bench]'
	touch $@
