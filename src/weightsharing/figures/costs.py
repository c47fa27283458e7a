"""Time and memory of each figure, from the benchmarks that Snakemake wrote."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from weightsharing.errors import FileError

# Seconds by the clock, seconds of processor time, and the largest memory in MiB of a job.
_MEASURED = ["s", "cpu_time", "max_rss"]


def costs(folder: Path) -> pd.DataFrame:
    """One row for each job: its figure and its costs.

    folder: benchmarks/<preset>, in which the first part of a file's path is its figure. Raises FileError
    if there are no benchmarks, or if one is damaged.
    """
    jobs = [_job(path, folder) for path in sorted(folder.rglob("*.tsv"))]
    if not jobs:
        raise FileError(
            f"{folder}: no benchmarks there; want benchmarks/<preset> of a finished run"
        )
    return pd.concat(jobs)


def _job(path: Path, folder: Path) -> pd.DataFrame:
    """Costs of one job; NaN where Snakemake wrote NA, as the job ended before it looked."""
    try:
        job = pd.read_csv(path, sep="\t")[_MEASURED].astype(float)
    except (ValueError, KeyError) as error:
        raise FileError(f"{path}: damaged, or not a benchmark of Snakemake") from error
    if len(job) != 1:
        raise FileError(f"{path}: damaged, or not a benchmark of Snakemake")
    figure = Path(path.relative_to(folder).parts[0]).stem
    return job.assign(figure=figure.removeprefix("fig"))


def table(jobs: pd.DataFrame) -> str:
    """Sums of both times and the largest memory, for each figure and for all, in Markdown.

    Jobs that were not measured, the shortest ones, count as 0 beside others.
    """
    lines = [
        "| figure | jobs | seconds, one after the other | seconds of processor time | largest job |",
        "|---|---|---|---|---|",
    ]
    for name, group in [*jobs.groupby("figure"), ("all", jobs)]:
        seconds, processor = group["s"].sum(), group["cpu_time"].sum(min_count=1)
        memory = group["max_rss"].max()
        cells = [_words(seconds), _words(processor), _words(memory, " MiB")]
        lines.append(f"| {name} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(value: float, unit: str = "") -> str:
    return "not measured" if math.isnan(value) else f"{value:.0f}{unit}"
