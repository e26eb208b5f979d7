# Two commands do everything: `make demo` and `make test`. Another Python: `make demo PYTHON=python3.12`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

TOOLS = build/tools
TORCH = $(shell grep '^torch==' constraints.txt)

# Where the locks hold, all but torch is installed by its hash; elsewhere, and torch, by versions. Of a lock, and what is asked for.
LOCK_HOLDS := $(filter 3.11-Linux-x86_64,$(shell $(PYTHON) -c 'import platform as p; v = p.python_version_tuple(); \
    print(v[0] + "." + v[1], p.system(), p.machine(), sep="-")'))
ifdef LOCK_HOLDS
install = $(PIP) --require-hashes --no-deps --requirement $(1) && $(PIP) --constraint constraints.txt $(TORCH) && \
    $(PIP) --no-deps --no-build-isolation --editable $(2)
else
install = $(PIP) --constraint constraints.txt --editable $(2)
endif

.PHONY: demo test coverage lint docs links lock audit mutants sbom clean

demo: $(VENV)/.installed
	$(BIN)/ecgsynth run

# Two files of tests at a time, each process on one core.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The tests, and how many of the lines of the package they run.
coverage: $(VENV)/.installed-dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --timeout 900
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml constraints.txt requirements-demo.lock
	$(call install,requirements-demo.lock,.)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt requirements.lock
	$(call install,requirements.lock,'.[dev]')
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
COMPILE = printf 'hatchling\neditables\n' | $(TOOLS)/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate \
    --python-version 3.11.9 --python-platform x86_64-unknown-linux-gnu --constraint constraints.txt \
    $(foreach name,torch $(GPU),--no-emit-package $(name)) pyproject.toml -

lock: $(TOOLS)/.installed
	$(COMPILE) --output-file requirements-demo.lock
	$(COMPILE) --all-extras --output-file requirements.lock

# Known weaknesses of the versions that are pinned.
audit: $(TOOLS)/.installed
	$(TOOLS)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off

# Change each line that decides a published number in every way that is known, and see whether a test notices.
mutants: $(VENV)/.installed-dev
	$(PIP) --constraint constraints.txt mutmut==3.8.1
	OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/mutmut run
	$(BIN)/python scripts/mutants.py

# What a release is made of, as CycloneDX.
sbom: $(TOOLS)/.installed
	$(MAKE) build/release/.installed VENV=build/release
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json build/release
	@echo build/sbom.json

$(TOOLS)/.installed: Makefile
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet uv==0.13.9 pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
