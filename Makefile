# Two commands do everything: `make demo` and `make test`. Another Python: `make demo PYTHON=python3.12`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test lint docs links clean

demo: $(VENV)/.installed
	$(BIN)/ecgsynth run

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) '.[dev]'
	@touch $(VENV)/.installed $@

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -W --keep-going -q docs build/docs
	@echo build/docs/index.html

links: docs
	$(BIN)/sphinx-build -q -b linkcheck docs build/links

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
