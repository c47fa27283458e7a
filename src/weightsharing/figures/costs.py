"""Time and memory of each figure, from the benchmarks that Snakemake wrote."""

from __future__ import annotations

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
    """Costs of one job. Snakemake writes NA if a job ended before it looked; this counts as 0."""
    try:
        job = pd.read_csv(path, sep="\t")[_MEASURED].astype(float).fillna(0.0)
    except (ValueError, KeyError) as error:
        raise FileError(f"{path}: damaged, or not a benchmark of Snakemake") from error
    if len(job) != 1:
        raise FileError(f"{path}: damaged, or not a benchmark of Snakemake")
    figure = Path(path.relative_to(folder).parts[0]).stem
    return job.assign(figure=figure.removeprefix("fig"))


def table(jobs: pd.DataFrame) -> str:
    """Sums of both times and the largest memory, for each figure and for all, in Markdown."""
    lines = [
        "| figure | jobs | seconds, one after the other | seconds of processor time | largest job |",
        "|---|---|---|---|---|",
    ]
    for name, group in [*jobs.groupby("figure"), ("all", jobs)]:
        seconds, processor = group["s"].sum(), group["cpu_time"].sum()
        memory = group["max_rss"].max()
        lines.append(
            f"| {name} | {len(group)} | {seconds:.0f} | {processor:.0f} | {memory:.0f} MiB |"
        )
    return "\n".join(lines)
