"""One row of the scorecard, how its verdict is reached, and the statistics behind it.

A claim holds if its criterion does. Criteria that compare measurements refuse a correct program with
the probability ``FALSE_ALARM``, corrected for the number of values compared (Bonferroni), with normal
errors unless a row says otherwise. No verdict but "not converged" is given to a claim that rests on a run
which did not converge.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from weightsharing.errors import FileError
from weightsharing.files import replacing, split
from weightsharing.measures.compare import LARGEST_EXCESS_ACTION
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.tasks import Task

# Probability that one row fails although program and theory are right.
FALSE_ALARM = 1e-3

Verdict = Literal["pass", "fail", "not converged", "no data"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "not converged", "no data")
Role = Literal["trained", "exact"]
ROLES: tuple[Role, ...] = ("trained", "exact")
# Whose measurement a row is; captions say by which dynamics networks were trained.
ROLE_NAMES: dict[Role, str] = {"trained": "trained networks", "exact": "exact sampler"}
# Runs that are named when several did not converge.
NAMED_RUNS = 2


class NoDataError(Exception):
    """A claim cannot be judged from the files at hand; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the scorecard, in the order of its columns.

    id: figure, panel and quantity. panel: "" if the claim is about the whole figure. claim: what the
    caption says. quantity: what was measured for it. theory, measured, standard_error: of that
    quantity; NaN where there is none. criterion: what is asked for, with its numbers. explanation:
    known deviations, such as terms of order 1/N, and what is behind a verdict that is not "pass".
    """

    id: str
    figure: str
    panel: str
    claim: str
    quantity: str = ""
    theory: float = np.nan
    measured: float = np.nan
    standard_error: float = np.nan
    criterion: str = ""
    verdict: Verdict = "no data"
    explanation: str = ""


@dataclass(frozen=True)
class Finding:
    """What a claim rests on, before convergence is asked for; fields as in ``Claim``."""

    quantity: str
    measured: float
    criterion: str
    holds: bool
    theory: float = np.nan
    standard_error: float = np.nan
    explanation: str = ""


@dataclass(frozen=True)
class Evidence:
    """The files of one figure.

    measures: one dataset for each run, or for each member of a family. transitions: theory scans.
    tasks: with the signal strength or the set they belong to not named; in the order of the files.
    """

    measures: tuple[xr.Dataset, ...] = ()
    transitions: tuple[xr.Dataset, ...] = ()
    tasks: tuple[Task, ...] = ()


def judge(
    identity: str,
    claim: str,
    find: Callable[[], Finding],
    runs: Sequence[xr.Dataset] = (),
    also: Sequence[str] = (),
) -> Claim:
    """The row of a claim.

    identity: such as "3e-coherence-trained", which starts with figure and panel. find: computes the
    finding or raises NoDataError. runs: that the finding rests on. also: attributes besides "converged"
    that have to say "yes", such as "coherence_converged".
    """
    place = identity.split("-")[0]
    row = Claim(id=identity, figure=place[0], panel=place[1:], claim=claim)
    try:
        found = find()
    except NoDataError as error:
        return replace(row, explanation=f"No data: {error}.")
    failed = [(run, fault) for run in runs if (fault := _fault(run, also))]
    verdict: Verdict = "not converged" if failed else "pass" if found.holds else "fail"
    sentences = [found.explanation]
    if failed:
        named = ", ".join(f"{name_of(run)} ({fault})" for run, fault in failed[:NAMED_RUNS])
        named += ", ..." if len(failed) > NAMED_RUNS else ""
        counts = f"{len(failed)} of {len(runs)} runs did not converge: {named}"
        mixed = [_coexistence(run) for run, _ in failed[:NAMED_RUNS]]
        sentences = [f"{counts.removesuffix('.')}.", *mixed, *sentences]
    values = {field.name: getattr(found, field.name) for field in fields(found)}
    del values["holds"]
    values["explanation"] = " ".join(sentence for sentence in sentences if sentence)
    return replace(row, verdict=verdict, **values)


def _fault(run: xr.Dataset, also: Sequence[str]) -> str:
    """What did not converge in a run; empty if nothing."""
    faults = [str(run.attrs["converged"]).removeprefix("no: ")]
    faults += [name.removesuffix("_converged") for name in also if run.attrs[name] != "yes"]
    return ", ".join(fault.replace("_", " ") for fault in faults if fault != "yes")


def _coexistence(run: xr.Dataset) -> str:
    """That a run which did not converge has several phases; empty if it has one."""
    if not int(run.get("phases", 1)) > 1:
        return ""
    return (
        f"At N = {width_of(run)} the posterior of {name_of(run)} has {int(run['phases'])} phases, minima "
        f"whose actions differ by less than {LARGEST_EXCESS_ACTION:.2g}/N: wider networks have one."
    )


# --- files ------------------------------------------------------------------------------------------


def run_of(data: xr.Dataset) -> dict[str, Any]:
    """The parameters of the run that a dataset belongs to, as in its ``run.yaml``."""
    found: dict[str, Any] = json.loads(data.attrs["run"])
    return found


def name_of(data: xr.Dataset) -> str:
    """The id of a run, with the set of a family's member."""
    identity = str(run_of(data)["id"])
    if run_of(data)["task"]["kind"] != "sequence":
        return identity
    return f"{identity} {'-'.join(map(str, supervised_times(data)))}"


def supervised_times(data: xr.Dataset) -> list[int]:
    """The supervised output times of a run."""
    chosen = data["supervised"].to_numpy().any(axis=0)
    return [int(time) for time in data["output_time"].to_numpy()[chosen]]


def role_of(data: xr.Dataset) -> Role:
    """Whether weights were trained or the exact sampler drew activities."""
    return "exact" if data.attrs["method"] == "exact" else "trained"


def width_of(data: xr.Dataset) -> int:
    """N."""
    return int(data.attrs["width"])


def figure_of(data: xr.Dataset) -> str:
    """The number of the figure that a file belongs to, by the id of its run."""
    return str(run_of(data)["id"]).split("/")[0].removeprefix("fig")


def members(datasets: Sequence[xr.Dataset], figure: str) -> tuple[xr.Dataset, ...]:
    """The measures of one figure, families split into their members."""
    return tuple(member for data in datasets if figure_of(data) == figure for member in split(data))


def require(data: xr.Dataset, *names: str) -> None:
    """Raises NoDataError if a measure is not in the file of a run."""
    for name in names:
        if name not in data:
            raise NoDataError(f"{name_of(data)} has no {name.replace('_', ' ')}")


def write_table(rows: Sequence[Claim], path: Path) -> None:
    """Write the rows as tab-separated values, a header first. NaN is an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        names = [field.name for field in fields(Claim)]
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in names])


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def read_table(path: Path) -> list[Claim]:
    """The inverse of ``write_table``. Raises FileError for another table."""
    with path.open(newline="") as file:
        found = list(csv.reader(file, dialect="excel-tab"))
    names = [field.name for field in fields(Claim)]
    if not found or found[0] != names:
        raise FileError(f"{path}: not a scorecard")
    numbers = ("theory", "measured", "standard_error")
    rows = []
    for line in found[1:]:
        values: dict[str, Any] = dict(zip(names, line, strict=True))
        rows.append(Claim(**values | {name: float(values[name] or "nan") for name in numbers}))
    return rows


# --- statistics -------------------------------------------------------------------------------------


def z_limit(count: int = 1, freedom: float = np.inf) -> float:
    """Largest of ``count`` z-scores that chance explains; of Student's t with few degrees of freedom."""
    return float(stats.t(freedom).isf(FALSE_ALARM / (2.0 * count)))


def z_scores(measured: Array, expected: Array | float, error: Array) -> Array:
    """(measured - expected) / error; 0 where nothing is apart, infinite where an error is missing."""
    apart = np.asarray(measured - expected, dtype=np.float64)
    safe = np.where(error > 0, error, 1.0)
    return np.where(
        error > 0, apart / safe, np.where(apart == 0.0, 0.0, np.copysign(np.inf, apart))
    )


@dataclass(frozen=True)
class Comparison:
    """Several values against what is expected of them.

    largest: z-score of largest modulus, with its sign. index: where it is. count: values. limit: that
    the modulus must not reach.
    """

    largest: float
    index: int
    count: int
    limit: float

    @property
    def holds(self) -> bool:
        """Whether all values agree."""
        return bool(abs(self.largest) < self.limit)

    @property
    def criterion(self) -> str:
        """The test in words, with its numbers."""
        return (
            f"largest of {self.count} z-scores below {self.limit:.2f}: {abs(self.largest):.2f}"
            if self.count > 1
            else f"z-score below {self.limit:.2f}: {abs(self.largest):.2f}"
        )


def compare(
    measured: Array, expected: Array | float, error: Array, freedom: float = np.inf
) -> Comparison:
    """All values at once."""
    z = np.atleast_1d(z_scores(np.asarray(measured), expected, np.asarray(error))).reshape(-1)
    index = int(np.abs(z).argmax())
    return Comparison(float(z[index]), index, z.size, z_limit(z.size, freedom))


def kernel_entries(kernel: NDArray[np.floating]) -> Array:
    """The different entries of a symmetric kernel (pattern, pattern_, time, time_), one vector."""
    matrix = kernel_matrix(np.asarray(kernel, dtype=np.float64))
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def entry_name(data: xr.Dataset, index: int) -> str:
    """Which patterns and times an entry of ``kernel_entries`` belongs to."""
    patterns, steps = data.sizes["pattern"], data.sizes["time"]
    rows, columns = np.triu_indices(patterns * steps)
    (t, p), (t2, p2) = divmod(int(rows[index]), patterns), divmod(int(columns[index]), patterns)
    return f"t = {t}, t' = {t2}" + (f", p = {p}, p' = {p2}" if patterns > 1 else "")


def finite_width_kernel(data: xr.Dataset) -> Array:
    """The theory's kernel with its 1/N term at the width of a run, where there is one."""
    require(data, "kernel_theory")
    name = "kernel_finite_width" if "kernel_finite_width" in data else "kernel_theory"
    return np.asarray(data[name].to_numpy())


def median(values: Array, errors: Array) -> tuple[float, float]:
    """The median and its error bar, that of the one or two values in the middle."""
    order = np.argsort(values)
    middle = order[(len(values) - 1) // 2 : len(values) // 2 + 1]
    error = float(np.linalg.norm(errors[middle])) / len(middle)
    return float(values[middle].mean()), error
