"""runs: list every run with its sampler, diagnostics, wall time and commit."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weightsharing.errors import FileError
from weightsharing.figures.pages import Cell, Table, table_page, write_page
from weightsharing.files import replacing
from weightsharing.measures.estimate import LARGEST_RHAT, SMALLEST_EFFECTIVE_SIZE
from weightsharing.sampling.run import Run


@dataclass(frozen=True)
class Row:
    """One run, or one set of a family.

    rhat, effective_size: the worst of its scalar observables. wall_seconds: of sampling, since the last
    resumption; sets that moved together have equal shares of it. git_commit: of the code that sampled.
    """

    id: str
    width: int
    sampler: str
    seed: int
    chains: int
    rhat: float
    effective_size: float
    converged: str
    wall_seconds: float
    git_commit: str


COLUMNS = (
    "id", "N", "sampler", "seed", "chains", "R-hat", "effective sample size", "converged",
    "wall time / s", "git commit",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="table of tab-separated values")
    parser.add_argument("--page", type=Path, help="the same as HTML")
    parser.add_argument("--samples", type=Path, nargs="+", required=True, help="NetCDF files")
    parser.add_argument(
        "--measures", type=Path, nargs="+", required=True, help="NetCDF files, in the same order"
    )


def execute(options: argparse.Namespace) -> None:
    """Read attributes and write the table. Raises FileError if the files do not belong together."""
    if len(options.samples) != len(options.measures):
        raise FileError(
            f"--samples: {len(options.samples)} files for {len(options.measures)} of measures"
        )
    rows = [
        row
        for samples, measures in zip(options.samples, options.measures, strict=True)
        for row in rows_of(samples, measures)
    ]
    with replacing(options.output) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows([getattr(row, field.name) for field in fields(Row)] for row in rows)
    if options.page is not None:
        write_page(page(rows), options.page)


def rows_of(samples: Path, measures: Path) -> list[Row]:
    """One row for each member of a run."""
    origin, (seconds,) = _values(samples, "wall_seconds")
    run, (rhat, size, faults) = _values(
        measures, "largest_rhat", "smallest_effective_size", "faults"
    )
    if origin["run"] != run["run"]:
        raise FileError(f"{samples}: not the samples that {measures} was measured from")
    return [
        Row(
            id=member.id,
            width=member.sampler.width,
            sampler=member.sampler.method,
            seed=member.seed,
            chains=member.sampler.chains,
            rhat=float(rhat[index]),
            effective_size=float(size[index]),
            converged=f"no: {faults[index]}" if faults[index] else "yes",
            wall_seconds=float(seconds[index]),
            git_commit=origin["git_commit"],
        )
        for index, member in enumerate(Run.model_validate_json(run["run"]).members)
    ]


def _values(path: Path, *names: str) -> tuple[dict[str, str], list[list[Any]]]:
    """Attributes of a file, and of each name the values of its members; nothing else is read.

    What is an attribute of a single run is a variable of a family's file (``storage.join``).
    """
    try:
        with h5py.File(path) as file:
            attributes = {name: str(file.attrs[name]) for name in ("run", "git_commit")}
            return attributes, [_members(file, name) for name in names]
    except (OSError, KeyError) as error:
        raise FileError(f"{path}: missing, damaged or of another kind") from error


def _members(file: h5py.File, name: str) -> list[Any]:
    if name not in file:
        return list(np.atleast_1d(file.attrs[name]))
    variable = file[name]
    is_text = h5py.check_string_dtype(variable.dtype) is not None
    return list(variable.asstr()[:] if is_text else variable[:])


def page(rows: Sequence[Row]) -> str:
    """The rows as HTML, one table for each figure."""
    tables = []
    for figure in sorted({row.id.split("/")[0] for row in rows}):
        own = [row for row in rows if row.id.startswith(f"{figure}/")]
        converged = sum(row.converged == "yes" for row in own)
        heading = f"{figure}: {converged} of {len(own)} converged"
        tables.append(Table(heading, COLUMNS, [_cells(row) for row in own]))
    introduction = [
        "Every run, and every set of figure 5. R-hat and effective sample size are the worst of the "
        "order parameter, the last step's kernel, the loss and, where there is one, the "
        f"generalisation error; a run has converged with R-hat below {LARGEST_RHAT:g} and more than "
        f"{SMALLEST_EFFECTIVE_SIZE:g} effective samples. Wall time is that of sampling since it was "
        "last resumed, in equal shares for sets that moved together; the commit is that of the code "
        "that sampled, with a + if it had changes.",
    ]
    return table_page("Runs", introduction, tables)


def _cells(row: Row) -> list[Cell]:
    good = row.converged == "yes"
    numbers = (f"{row.rhat:.3f}", f"{row.effective_size:.0f}")
    return [
        Cell(row.id),
        Cell(str(row.width), "number"),
        Cell(row.sampler),
        Cell(str(row.seed), "number"),
        Cell(str(row.chains), "number"),
        *(Cell(number, "number") for number in numbers),
        Cell(row.converged, "verdict good" if good else "verdict bad"),
        Cell(f"{row.wall_seconds:.1f}", "number"),
        Cell(row.git_commit, "small"),
    ]
