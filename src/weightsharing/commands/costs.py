"""costs: print the time and memory of each figure, from the benchmarks that Snakemake wrote."""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from weightsharing.errors import FileError


@dataclass(frozen=True)
class Cost:
    """What a job took: seconds by the clock and of processor time, and its largest memory in MiB."""

    seconds: float
    processor_seconds: float
    memory: float


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="benchmarks/<preset>")


def execute(options: argparse.Namespace) -> None:
    """Print the table. Raises FileError if there are no benchmarks, or one is damaged."""
    print(table(costs(options.folder)))


def costs(folder: Path) -> dict[str, list[Cost]]:
    """The costs of the jobs of each figure: the first part of a benchmark's path is its figure."""
    found: dict[str, list[Cost]] = defaultdict(list)
    for path in sorted(folder.rglob("*.tsv")):
        figure = Path(path.relative_to(folder).parts[0]).stem
        found[figure].append(read(path))
    if not found:
        raise FileError(
            f"{folder}: no benchmarks there; want benchmarks/<preset> of a finished run"
        )
    return dict(found)


def read(path: Path) -> Cost:
    """The cost of one job. Snakemake writes NA where a job ended before it looked: counted as 0."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, dialect="excel-tab"))
    try:
        (row,) = rows
        values = [
            0.0 if row[key] == "NA" else float(row[key]) for key in ("s", "cpu_time", "max_rss")
        ]
    except (ValueError, KeyError) as error:
        raise FileError(f"{path}: damaged, or not a benchmark of Snakemake") from error
    return Cost(*values)


def table(found: dict[str, list[Cost]]) -> str:
    """The sums of both times and the largest memory, of each figure and of all, in Markdown."""
    lines = [
        "| figure | jobs | seconds, one after the other | seconds of processor time | largest job |",
        "|---|---|---|---|---|",
        *(_row(name.removeprefix("fig"), jobs) for name, jobs in sorted(found.items())),
        _row("all", [job for jobs in found.values() for job in jobs]),
    ]
    return "\n".join(lines)


def _row(name: str, jobs: Sequence[Cost]) -> str:
    seconds = sum(job.seconds for job in jobs)
    processor = sum(job.processor_seconds for job in jobs)
    memory = max(job.memory for job in jobs)
    return f"| {name} | {len(jobs)} | {seconds:.0f} | {processor:.0f} | {memory:.0f} MiB |"
