# Each target sets up all it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv venv-dev quickstart test test-slow test-faults lint format clean-venv

# What training needs.
venv: $(VENV)/.installed

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

# The same with Ray, the test runner and the linter.
venv-dev: $(VENV)/.installed-dev

$(VENV)/.installed-dev: $(VENV)/.installed requirements-cluster.txt requirements-annealing.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements.txt -r requirements-cluster.txt -r requirements-annealing.txt -r requirements-dev.txt
	touch $@

quickstart: venv
	$(BIN)/python run.py --flagfile=configs/quickstart.flags

test: venv-dev lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests

test-slow: venv-dev
	$(BIN)/python -m pytest -q -m slow tests

test-faults: venv-dev
	$(BIN)/python -m tests.faults

lint: venv-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean-venv:
	rm -rf $(VENV)
