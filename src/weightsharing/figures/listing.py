"""The table of all runs: sampler, diagnostics, wall time and origin."""

from __future__ import annotations

import numpy as np
import pandas as pd

from weightsharing.figures import tables
from weightsharing.figures.results import Results
from weightsharing.measures.equilibrium import IDENTITIES
from weightsharing.measures.estimate import LARGEST_RHAT, SMALLEST_EFFECTIVE_SIZE

# Columns of the table with their headings on the page, and the format and look of their cells there.
COLUMNS = {
    "id": ("id", "{}", ""),
    "width": ("N", "{}", "number"),
    "sampler": ("sampler", "{}", ""),
    "seed": ("seed", "{}", "number"),
    "chains": ("chains", "{}", "number"),
    "rhat": ("R-hat", "{:.3f}", "number"),
    "effective_size": ("effective sample size", "{:.0f}", "number"),
    "virial": ("virial", "{:.3f}", "number"),
    "input_virial": ("input virial", "{:.3f}", "number"),
    "kinetic_temperature": ("kinetic temperature", "{:.3f}", "number"),
    "loss_temperature": ("loss temperature", "{:.2f}", "number"),
    "converged": ("converged", "{}", "verdict"),
    "wall_seconds": ("wall time / s", "{:.1f}", "number"),
    "git_commit": ("git commit", "{}", "small"),
}


def table(results: Results) -> pd.DataFrame:
    """One row for each run, or for each set of a family.

    rhat, effective_size: the worst of its scalar observables. virial, input_virial, kinetic_temperature,
    loss_temperature: 1 in equilibrium, NaN where the sampler has none. wall_seconds: of sampling, since
    the last resumption; sets that moved together have equal shares of it. git_commit: of the code that
    sampled.
    """
    rows = [
        (
            result.name,
            result.width,
            result.method,
            result.run.seed,
            result.run.sampler.chains,
            float(result.data.attrs["largest_rhat"]),
            float(result.data.attrs["smallest_effective_size"]),
            *(float(result.data.get(name, np.nan)) for name in IDENTITIES),
            result.verdict,
            float(result.data.attrs["wall_seconds"]),
            str(result.data.attrs["sampling_commit"]),
        )
        for result in results.runs
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def page(runs: pd.DataFrame) -> str:
    """The table of runs as HTML, one table for each figure."""
    texts = pd.DataFrame(
        {
            heading: runs[name].map(form.format).replace("nan", "")
            for name, (heading, form, _) in COLUMNS.items()
        }
    )
    parts = {}
    for figure, rows in texts.groupby(runs["id"].str.split("/").str[0], sort=False):
        converged = (rows["converged"] == "yes").sum()
        parts[f"{figure}: {converged} of {len(rows)} converged"] = rows
    introduction = [
        "Every run, and every set of figure 5. R-hat and effective sample size are the worst of the "
        "order parameter, the last step's kernel, the loss and, where there is one, the "
        f"generalisation error; a run has converged with R-hat below {LARGEST_RHAT:g} and more than "
        f"{SMALLEST_EFFECTIVE_SIZE:g} effective samples. Virial and temperatures are 1 in equilibrium; "
        "they must be, within errors and the known bias of the step. Wall time is that of sampling "
        "since it was last resumed, in equal shares for sets that moved together; the commit is that "
        "of the code that sampled, with a + if it had changes.",
    ]
    return tables.page("Runs", introduction, parts, _look)


def _look(column: str, text: str) -> str:
    look = next(look for heading, _, look in COLUMNS.values() if heading == column)
    return f"{look} {'good' if text == 'yes' else 'bad'}" if look == "verdict" else look
