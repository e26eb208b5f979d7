# Two commands do everything: `make demo` and `make test`. Another Python: `make demo PYTHON=python3.12`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

TOOLS = build/tools
TORCH = $(shell grep '^torch==' constraints.txt)

.PHONY: demo test lint docs links lock locked audit mutants sbom clean

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

# Every package of Python 3.11 on Linux x86-64 by its hash, but torch and what its builds for graphics cards bring: they differ by source.
GPU = cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cudnn-cu13 \
    nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink \
    nvidia-nvshmem-cu13 nvidia-nvtx triton

lock: $(TOOLS)/.installed
	$(TOOLS)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --python-version 3.11.9 \
	    --python-platform x86_64-unknown-linux-gnu --constraint constraints.txt --all-extras \
	    $(foreach name,torch $(GPU),--no-emit-package $(name)) pyproject.toml --output-file requirements.lock

# An environment of the lock: torch by its version alone, all else by its hash.
locked: build/locked/.made
	build/locked/bin/python -m pip check
	build/locked/bin/ecgsynth --version

build/locked/.made: requirements.lock
	$(PYTHON) -m venv --clear build/locked
	build/locked/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements.lock
	build/locked/bin/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	build/locked/bin/python -m pip install --quiet --no-deps --no-build-isolation .
	@touch $@

# Known weaknesses of the versions that are pinned.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

# Change each line that decides a published number in every way that is known, and see whether a test notices.
mutants: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt mutmut
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(VENV)/bin/mutmut run

# What a release is made of, as CycloneDX.
sbom: $(TOOLS)/.installed $(VENV)/.installed
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json $(VENV)
	@echo build/sbom.json

$(TOOLS)/.installed: Makefile
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv pip-audit cyclonedx-bom
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
