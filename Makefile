# A fresh machine with a Python of pyproject.toml needs nothing else:
#   make figures/fig4.pdf    installs the packages of requirements.lock into .venv, makes the figure
#   make CPU=1 all           the same with PyTorch's small build, which has no CUDA
#   make test                the test suite, in two processes
#   make test-faults         kills the workflow and its chains again and again (5 to 20 minutes on two cores)
#   make test-fuzz           damages configurations and files, and kills commands, in thousands of ways
#   make test-mutations      runs deliberately wrong programs: which rows of the scorecard turn red
#   make test-slurm          starts a Slurm of one node and submits to it (about 15 minutes on two quiet cores)
#   make check               formatters, linters, types and the schemas of the files for GitHub
#   make lock                pins versions for all Pythons and platforms; make lock UPGRADE=1 takes the newest
#   make lock-check          each Python and platform finds a wheel of each pinned version
#   make lowest              the smoke preset with the lowest versions that pyproject.toml allows
#   make docs                the documentation as a website, site/index.html, with the tutorials run
#   make review              all results for a reader: review/laptop.html and .zip
#   make explore             the theory with sliders: review/explore.html
# `make review PRESET=smoke` uses another preset; figures take PRESET too.
PYTHON ?= python3
# pyproject.toml names the Pythons.
PYTHONS := $(shell sed -n 's/.*Python :: \(3\..*\)".*/\1/p' pyproject.toml)
PLATFORMS := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu aarch64-apple-darwin
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
UV = $(BIN)/uv pip install --python $(BIN)/python $(if $(CPU),--torch-backend cpu)
# The line of a package in requirements.lock.
pin = $(shell grep '^$(1)==' requirements.lock)
INSTALLED := .venv/.installed
# config.yaml is the preset "laptop".
PRESET ?= laptop
PRESETS := $(basename $(notdir $(wildcard workflow/presets/*.yaml)))
PRESET_FILE = $(if $(filter-out laptop,$(PRESET)),--configfile $(or $(wildcard workflow/presets/$(PRESET).yaml),\
	$(error PRESET=$(PRESET): must be one of laptop $(PRESETS))))

.PHONY: all docs explore review test test-faults test-fuzz test-mutations test-slurm check bench format lock lock-check \
	lowest clean FORCE

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
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/pre-commit validate-config .pre-commit-config.yaml

# Includes posteriors, JAX and optax if they are installed: pip install -e .[benchmarks]
bench: $(INSTALLED)
	mkdir -p results
	$(BIN)/python -m bench results/bench.nc --plot results/bench.png

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

# uv knows where PyTorch's small build is; pip would have to be told, but keeps a build that is there.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; ok = "%d.%d" % sys.version_info[:2] in "$(PYTHONS)".split(); \
		sys.exit(0 if ok else "Python must be one of $(PYTHONS): make PYTHON=python3.13 ...")'
	$(PYTHON) -m venv .venv
	$(if $(CPU),$(PIP) --quiet $(call pin,uv))
	$(if $(CPU),$(UV) --no-deps $(call pin,torch))
	$(PIP) --progress-bar off -r requirements.lock
	$(PIP) --quiet --no-deps --no-build-isolation --editable .
	touch $@

# One version of each package for all Pythons and platforms. CUDA is left out: what PyTorch asks for depends on
# its build, and pip then installs it. There are no hashes, since builds of PyTorch have different ones.
lock: $(INSTALLED)
	$(BIN)/uv pip compile --quiet --universal --python-version $(firstword $(PYTHONS)) --fork-strategy fewest \
		$(if $(UPGRADE),--upgrade) --extra development --extra slurm --no-annotate \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml
	sed -e '/^cuda-/d' -e '/^nvidia-/d' requirements.lock > .venv/lock
	mv .venv/lock requirements.lock

# Two packages have no wheel: one is of Python alone; the other has none for Python 3.14, and a C compiler builds it.
lock-check: $(INSTALLED)
	@for python in $(PYTHONS); do for platform in $(PLATFORMS); do echo $$python $$platform; \
		MACOSX_DEPLOYMENT_TARGET=14.0 $(BIN)/uv pip compile --quiet --python-version $$python \
		--python-platform $$platform --only-binary :all: --no-binary connection-pool --no-binary immutables \
		requirements.lock > /dev/null || exit 1; done; done

# In a clone: results and figures of this folder stay.
lowest: $(INSTALLED)
	rm -rf .cache/lowest
	git clone --quiet . .cache/lowest
	$(PYTHON) -m venv .cache/lowest/.venv
	cd .cache/lowest && ../../$(UV) --resolution lowest-direct --editable . && \
		$(BIN)/snakemake all --configfile workflow/presets/smoke.yaml

clean:
	rm -rf results logs benchmarks review site .cache figures/*.pdf figures/*.png figures/*.rst figures/*.txt .snakemake
