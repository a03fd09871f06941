# Each target sets up all it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: venv quickstart test test-slow test-faults lint format clean-venv

venv: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-cluster.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

quickstart: venv
	$(BIN)/python run.py --flagfile=configs/quickstart.flags

test: venv lint
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests

test-slow: venv
	$(BIN)/python -m pytest -q -m slow tests

test-faults: venv
	$(BIN)/python -m tests.faults

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean-venv:
	rm -rf $(VENV)
