# A fresh machine with Python >= 3.11 needs nothing else:
#   make figures/fig4.pdf    installs the packages of requirements.lock into .venv, makes the figure
#   make test                the test suite, in two processes
#   make test-faults         kills the workflow and its chains again and again (5 to 20 minutes on two cores)
#   make test-fuzz           damages configurations and files, and kills commands, in thousands of ways
#   make test-mutations      runs deliberately wrong programs: which rows of the scorecard turn red
#   make test-slurm          starts a Slurm of one node and submits to it (about 15 minutes on two quiet cores)
#   make check               formatters, linters and types
#   make docs                the documentation as a website, site/index.html, with the tutorials run
#   make review              all results for a reader: review/laptop.html and .zip
#   make explore             the theory with sliders: review/explore.html
# `make review PRESET=smoke` uses another preset; figures take PRESET too.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# config.yaml is the preset "laptop".
PRESET ?= laptop
PRESETS := $(basename $(notdir $(wildcard workflow/presets/*.yaml)))
PRESET_FILE = $(if $(filter-out laptop,$(PRESET)),--configfile $(or $(wildcard workflow/presets/$(PRESET).yaml),\
	$(error PRESET=$(PRESET): must be one of laptop $(PRESETS))))

.PHONY: all docs explore review test test-faults test-fuzz test-mutations test-slurm check bench format lock clean FORCE

all: $(INSTALLED)
	$(BIN)/snakemake all $(PRESET_FILE)

figures/%: $(INSTALLED) FORCE
	$(BIN)/snakemake $@ $(PRESET_FILE)

# A page, which needs no network, an archive of its files, and Snakemake's own report of the jobs.
review: $(INSTALLED)
	$(BIN)/snakemake archive review/$(PRESET).html $(PRESET_FILE)
	$(BIN)/snakemake archive $(PRESET_FILE) --report review/$(PRESET)-workflow.html

# About five minutes of one core.
explore: $(INSTALLED)
	$(BIN)/snakemake review/explore.html

# Its packages come on top of those of requirements.lock.
docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable .[docs]
	$(BIN)/mkdocs build

test: $(INSTALLED)
	$(BIN)/pytest

test-faults: $(INSTALLED)
	$(BIN)/pytest --numprocesses=0 tests/faults

test-fuzz: $(INSTALLED)
	$(BIN)/pytest --numprocesses=0 --tb=short tests/fuzz

test-mutations: $(INSTALLED)
	$(BIN)/pytest --numprocesses=0 --tb=short tests/mutations

test-slurm: $(INSTALLED)
	@tests/slurm/cluster.sh check
	$(BIN)/pytest --numprocesses=0 tests/slurm

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

# Includes posteriors, JAX and optax if they are installed: pip install -e .[benchmarks]
bench: $(INSTALLED)
	mkdir -p results
	$(BIN)/python -m bench results/bench.nc --plot results/bench.png

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Pins the installed packages. The label "+cpu" of torch depends on the machine, and Triton does not exist for
# all machines.
lock:
	$(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed -e 's/+cpu$$//' \
		-e 's/^triton==.*/&; sys_platform == "linux" and platform_machine == "x86_64"/' > requirements.lock

clean:
	rm -rf results logs benchmarks review site .cache figures/*.pdf figures/*.png figures/*.rst figures/*.txt .snakemake
