"""The table of all runs: sampler, diagnostics, wall time and origin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from weightsharing.errors import FileError
from weightsharing.figures import tables
from weightsharing.figures.results import Results
from weightsharing.measures.compare import LARGEST_RHAT, SMALLEST_EFFECTIVE_SIZE
from weightsharing.sampling.run import Run

# Columns of the table with their headings on the page, and the format and look of their cells there.
COLUMNS = {
    "id": ("id", "{}", ""),
    "width": ("N", "{}", "number"),
    "sampler": ("sampler", "{}", ""),
    "seed": ("seed", "{}", "number"),
    "chains": ("chains", "{}", "number"),
    "rhat": ("R-hat", "{:.3f}", "number"),
    "effective_size": ("effective sample size", "{:.0f}", "number"),
    "converged": ("converged", "{}", "verdict"),
    "wall_seconds": ("wall time / s", "{:.1f}", "number"),
    "git_commit": ("git commit", "{}", "small"),
}


def table(results: Results, samples: Sequence[Path]) -> pd.DataFrame:
    """One row for each run, or for each set of a family, in the order of the files of samples.

    rhat, effective_size: the worst of its scalar observables. wall_seconds: of sampling, since the last
    resumption; sets that moved together have equal shares of it. git_commit: of the code that sampled.
    Raises FileError if the samples and the results do not belong together.
    """
    by_id = {result.run.id: result for result in results.runs}
    rows = []
    for path in samples:
        run, commit, wall_seconds = _origin(path)
        for member, seconds in zip(run.members, wall_seconds, strict=True):
            result = by_id.pop(member.id, None)
            if result is None or result.run != member:
                raise FileError(
                    f"{path}: the measures of {member.id} are missing or of other samples"
                )
            rows.append(
                (
                    member.id,
                    member.sampler.width,
                    member.sampler.method,
                    member.seed,
                    member.sampler.chains,
                    float(result.data.attrs["largest_rhat"]),
                    float(result.data.attrs["smallest_effective_size"]),
                    result.verdict,
                    seconds,
                    commit,
                )
            )
    if by_id:
        raise FileError(f"no samples are given for {', '.join(by_id)}")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _origin(path: Path) -> tuple[Run, str, list[float]]:
    """Run, commit, and wall time of each member of a file of samples, without reading the samples.

    The wall time is an attribute of a single run, and a variable of a family (``files.join``).
    """
    try:
        with h5py.File(path) as file:
            run = Run.model_validate_json(file.attrs["run"])
            stored = file["wall_seconds"] if "wall_seconds" in file else file.attrs["wall_seconds"]
            return run, str(file.attrs["git_commit"]), np.atleast_1d(stored).tolist()
    except (OSError, KeyError, ValueError) as error:
        raise FileError(f"{path}: missing, damaged or of another kind") from error


def page(runs: pd.DataFrame) -> str:
    """The table of runs as HTML, one table for each figure."""
    texts = pd.DataFrame(
        {heading: runs[name].map(form.format) for name, (heading, form, _) in COLUMNS.items()}
    )
    parts = {}
    for figure, rows in texts.groupby(runs["id"].str.split("/").str[0], sort=False):
        converged = (rows["converged"] == "yes").sum()
        parts[f"{figure}: {converged} of {len(rows)} converged"] = rows
    introduction = [
        "Every run, and every set of figure 5. R-hat and effective sample size are the worst of the "
        "order parameter, the last step's kernel, the loss and, where there is one, the "
        f"generalisation error; a run has converged with R-hat below {LARGEST_RHAT:g} and more than "
        f"{SMALLEST_EFFECTIVE_SIZE:g} effective samples. Wall time is that of sampling since it was "
        "last resumed, in equal shares for sets that moved together; the commit is that of the code "
        "that sampled, with a + if it had changes.",
    ]
    return tables.page("Runs", introduction, parts, _look)


def _look(column: str, text: str) -> str:
    look = next(look for heading, _, look in COLUMNS.values() if heading == column)
    return f"{look} {'good' if text == 'yes' else 'bad'}" if look == "verdict" else look
