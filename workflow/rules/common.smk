import csv
import os
import re
import sys
from collections import Counter
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

# The library is used from the source tree: no installation step stands between an edit and a run.
ROOT = Path(os.path.relpath(workflow.basedir))
SOURCE = ROOT / "src"
BIN = str(Path(sys.executable).parent)
sys.path.insert(0, str(SOURCE.resolve()))

from weightsharing.code import code_hash
from weightsharing.config import (
    figure2_runs,
    figure3_runs,
    figure4_runs,
    figure5_runs,
    runs,
    theory_runs,
    validate,
)
from weightsharing.errors import UserError
from weightsharing.sampling import algorithm
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition

try:
    CONFIG = validate(config)
except UserError as error:
    raise WorkflowError(f"bad configuration:\n{error}")

RESULTS = f"results/{CONFIG.preset}"
LOGS = f"logs/{CONFIG.preset}"
BENCHMARKS = f"benchmarks/{CONFIG.preset}"
RUNS = runs(CONFIG)
THEORY_OF = theory_runs(RUNS)

# A failing command fails its job, also in front of a pipe: a prefix replaces Snakemake's own.
STRICT = "set -euo pipefail; "

# Rules call `python -m weightsharing`: the interpreter that runs Snakemake and the package of this
# source tree, unless --software-deployment-method conda brings an interpreter of its own.
if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    shell.prefix(f"{STRICT}export PYTHONPATH={quote(str(SOURCE))}; ")
else:
    shell.prefix(f"{STRICT}export PYTHONPATH={quote(str(SOURCE))} PATH={quote(BIN)}:$PATH; ")


def code(*targets):
    """A hash of the code that a rule's result depends on: comments and docstrings do not count.

    It is a parameter of the rule. Source files as inputs would be slow: Snakemake looks at every input of
    every waiting job whenever a job ends.
    """
    return code_hash(*(f"weightsharing.{target}" for target in targets))


def branch_to_start_from(wildcards):
    """The theory's kernels, for chains that begin on one of its branches."""
    if RUNS[wildcards.run].sampler.start == "prior":
        return []
    return f"{RESULTS}/{THEORY_OF[wildcards.run]}/theory.nc"


def theory_to_compare_with(wildcards):
    """The theory's kernels, where there is a theory of the network. Runs that differ in their sampler
    only share it."""
    if not RUNS[wildcards.run].has_theory:
        return []
    return f"{RESULTS}/{THEORY_OF[wildcards.run]}/theory.nc"


def figure_labels(figure):
    """How the report lists a figure: a function, as the verdicts are known when the report is made."""

    def labels(wildcards):
        with open(f"{RESULTS}/scorecard.tsv", newline="") as table:
            rows = csv.DictReader(table, dialect="excel-tab")
            found = Counter(row["verdict"] for row in rows if row["figure"] == figure)
        counts = ", ".join(f"{number} {verdict}" for verdict, number in sorted(found.items()))
        return {"figure": figure, "preset": CONFIG.preset, "claims": counts}

    return labels


def option(name, file):
    """The words of an optional argument; none where there is no file."""
    return f"{name} {quote(str(file))}" if file else ""


wildcard_constraints:
    run="|".join(re.escape(name) for name, run in RUNS.items() if isinstance(run, Run)),
    scan="|".join(re.escape(name) for name, run in RUNS.items() if isinstance(run, Transition)),
