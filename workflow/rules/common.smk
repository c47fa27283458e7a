import os
import re
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod, RerunTrigger

from weightsharing.code import code_hash
from weightsharing.config import (
    figure_runs,
    overlay,
    part,
    read,
    runs,
    study_part,
    study_runs,
    theory_runs,
    validate,
)
from weightsharing.errors import UserError
from weightsharing.figures.registry import FIGURES
from weightsharing.figures.tables import read_table
from weightsharing.identity import identity, identity_of
from weightsharing.sampling import algorithm
from weightsharing.sampling.run import Run

try:
    # Snakemake has read these files itself, but takes the last of two equal keys. Those of a module's
    # user are not ours: what they give to the module is laid over our own.
    for path in [] if IS_MODULE else workflow.configfiles:
        read(Path(path))
    CONFIG = validate(overlay(SHIPPED, config) if IS_MODULE else config)
except UserError as error:
    raise WorkflowError(f"bad configuration:\n{error}")

RESULTS = f"results/{CONFIG.preset}"
LOGS = f"logs/{CONFIG.preset}"
BENCHMARKS = f"benchmarks/{CONFIG.preset}"
FIGURE_RUNS = runs(CONFIG)
STUDY_RUNS = study_runs(CONFIG)
RUNS = FIGURE_RUNS | STUDY_RUNS
# What scorecard and table of runs depend on: all but the studies.
ALL_FIGURES = part(CONFIG, *FIGURES)
TRAINED = [name for name, run in RUNS.items() if isinstance(run, Run)]
SCANS = [name for name in RUNS if name not in TRAINED]
THEORY_OF = theory_runs(RUNS)


# Rules call `python -m weightsharing`: the interpreter that runs Snakemake and the package of this
# source tree. With --software-deployment-method conda, they call the interpreter of its environment.
# Environment modules may supply packages by PYTHONPATH: it stays, behind the source tree. A prefix of
# `shell` would be that of all modules of a workflow, and any of them could replace it.
search_first("PYTHONPATH", str(SOURCE))
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    search_first("PATH", str(Path(sys.executable).parent))


def code(*targets):
    """A hash of the code that a rule's result depends on: comments and docstrings do not count.

    It is a parameter of the rule. Source files as inputs would be slow: Snakemake looks at every input of
    every waiting job whenever a job ends.
    """
    return code_hash(*(f"weightsharing.{target}" for target in targets))


def algorithm_of(wildcards):
    """The module of the sampler of a run, for `code`."""
    return algorithm(RUNS[wildcards.run].sampler).removeprefix("weightsharing.")


# Files in figures/ or results/ of other parameters, or made by other code.
STALE = set()


def belongs_to(content, files, record, *targets):
    """An input function that gives no inputs: its rule runs again if its output belongs to something else.

    Snakemake compares parameters with notes of its own. They can be lost (`.snakemake` deleted), switched
    off (--rerun-triggers mtime), wrong (--touch) or those of another preset; the files themselves know.
    Code that differs counts unless --rerun-triggers leaves out "params", as if on purpose.

    content, record: as `identity` takes them; record, and targets of `code`, of the wildcards.
    """

    def check(wildcards):
        targets_of = (target(wildcards) if callable(target) else target for target in targets)
        wanted = identity(content, record(wildcards), code(*targets_of))
        parts = slice(None if RerunTrigger.PARAMS in workflow.rerun_triggers else 1)
        for file in (PLACE(file.format(**wildcards)) for file in files):
            if Path(file).exists() and (identity_of(Path(file)) or ())[parts] != wanted[parts]:
                STALE.add(file)
                workflow.dag.forcefiles.add(file)
        return []

    return check


def run_of(wildcards):
    """The parameters of a run."""
    return RUNS[wildcards.run]


def part_of(figure):
    """The configuration of a figure, of any wildcards."""
    return lambda wildcards: part(CONFIG, figure)


def claims_of(wildcards):
    """The module of the claims of a figure, for `code`."""
    return f"figures.{wildcards.figure}.claims"


def scan_of(wildcards):
    """The parameters of a scan."""
    return RUNS[wildcards.scan]


def branch_to_start_from(wildcards):
    """The theory's kernels, for chains that begin on one of its branches."""
    if RUNS[wildcards.run].sampler.start == "prior":
        return []
    return f"{RESULTS}/{THEORY_OF[wildcards.run]}/theory.nc"


def theory_to_compare_with(wildcards):
    """The theory's kernels, if there is a theory of the network. Runs that differ in their sampler
    only share it."""
    if not RUNS[wildcards.run].has_theory:
        return []
    return f"{RESULTS}/{THEORY_OF[wildcards.run]}/theory.nc"


def results_of(runs):
    """The results that figures and claims read: measures of training runs, transitions of scans."""
    return [
        f"{RESULTS}/{name}/{'measures' if name in TRAINED else 'transition'}.nc" for name in runs
    ]


def verdicts(figure):
    """How the report lists a figure. It calls this function at the end, when there are verdicts."""

    def labels(wildcards):
        if STALE:
            raise WorkflowError(
                f"{min(STALE)}: of other parameters or code than the configuration's; run snakemake first"
            )
        table, words = Path(PLACE(f"{RESULTS}/scorecard.tsv")), "not judged"
        if table.exists():
            claims = read_table(table, ["figure", "verdict"])
            counts = claims.verdict[claims.figure == figure].value_counts().sort_index()
            words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        return {"figure": figure, "preset": CONFIG.preset, "claims": words}

    return labels


def page_and_table(name, words):
    """The two files of a table, and how the report lists them."""
    files = {"page": ("html", words), "table": ("tsv", "the same as a table")}
    return {
        kind: report(
            f"{RESULTS}/{name}.{ending}",
            caption=f"../report/{name}.rst",
            category=name.capitalize(),
            labels={name: label},
        )
        for kind, (ending, label) in files.items()
    }


def option(name, file):
    """The words of an optional argument; none if there is no file."""
    return f"{name} {quote(str(file))}" if file else ""


def one_of(names):
    """A pattern of these names, which matches nothing if there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    run=one_of(TRAINED),
    scan=one_of(SCANS),
    figure=one_of(FIGURES),
