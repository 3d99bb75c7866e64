# Two commands matter: make run, make test. Both set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
# Where pip should look for torch, if not where it looks anyway (for instance PyTorch's CPU index).
TORCH_INDEX ?=
PYTEST := $(BIN)/python -m pytest
# Tests side by side. JOBS=0 runs them in one process, as a debugger wants it.
JOBS ?= 2

.PHONY: run test check format screenshots bench-powercut bench-overhead bench-start bench-peer bench-planner bench-recipes bench-checkpoint soak campaign gpu-check test-long clean

run: $(VENV)/.run
	@$(BIN)/homerun demo

test: $(VENV)/.dev
	@sh tests/debian-packages.sh
	$(PYTEST) -m "not long and not gpu" -n $(JOBS) --dist worksteal $(ARGS)

test-long: $(VENV)/.dev
	@sh tests/debian-packages.sh
	$(PYTEST) -m long $(ARGS)

check: $(VENV)/.dev
	@sh tests/debian-packages.sh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python deploy/check.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-overhead: $(VENV)/.dev
	$(BIN)/python -m tests.bench.overhead

# every fault many times over: about half an hour on two idle cores
campaign: $(VENV)/.dev
	$(BIN)/python -m tests.campaign --out deploy/bench $(ARGS)

# Memory, speed and exactness on the CUDA device of this machine; 3 when there is none.
# Needs the trainer's packages only: python -m tests.gpu.check does the same without a venv.
gpu-check: $(VENV)/.dev
	$(BIN)/python -m tests.gpu.check $(ARGS)

# The README's pictures, drawn anew from an invented house: look at them before you commit them.
screenshots: $(VENV)/.dev
	@sh tests/debian-packages.sh
	$(BIN)/python -m deploy.pictures

bench-start: $(VENV)/.dev
	$(BIN)/python -m tests.bench.start

# DIR: a checkout of karpathy/nanochat at 3a5e0bc
bench-peer: $(VENV)/.dev
	$(BIN)/python -m tests.bench.peer $(DIR) $(ARGS)

# stall, write, load and training with a save in flight, beside torch.distributed.checkpoint
bench-checkpoint: $(VENV)/.dev
	$(BIN)/python -m tests.bench.checkpoint --out deploy/bench $(ARGS)

# takes about half an hour on two cores; the same command goes on where it was interrupted
bench-recipes: $(VENV)/.dev
	$(BIN)/python -m tests.bench.recipes $(ARGS)

# Really cuts the power of loop-mounted file systems: as root; 3 where nobody may mount one.
bench-powercut: $(VENV)/.dev
	@sh tests/debian-packages.sh
	@$(PIP) --editable '.[bench]'
	nice $(BIN)/python -m tests.bench.powercut --out deploy/bench $(ARGS)

# Real prices are not part of the product: PRICES names a directory of CSV files.
PRICES ?= ../shared/prices
bench-planner: $(VENV)/.dev
	nice $(BIN)/python -m tests.bench.planner $(PRICES) --out deploy/bench $(ARGS)

# a simulated month, then a real hour; ARGS="--minutes 10" for less
soak: $(VENV)/.dev
	nice $(BIN)/python -m tests.bench.soak $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(VENV)/.run: pyproject.toml constraints.txt
	@echo "homerun: setting up $(VENV); torch is the large part, this takes a few minutes" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "homerun needs Python 3.11 or later; name one: make PYTHON=python3.12 run")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) --editable '.[dev]'
	@touch $@
