"""Stand-in until the branch of the claims is merged, which replaces this file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from weightsharing.errors import FileError
from weightsharing.files import read_dataset, split
from weightsharing.model.tasks import Task, make_task
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition


@dataclass(frozen=True)
class Result:
    """One run, or one set of a family, with its measures."""

    run: Run
    data: xr.Dataset
    converged: bool
    faults: tuple[str, ...]

    @property
    def task(self) -> Task:
        """The task that was learned."""
        return make_task(self.run.task, self.run.architecture.steps)

    @property
    def verdict(self) -> str:
        """The verdict in words: "yes", or "no: " and what did not converge."""
        return "yes" if self.converged else f"no: {', '.join(self.faults)}"


@dataclass(frozen=True)
class Scan:
    """The theory of one depth over the signal strength."""

    transition: Transition
    data: xr.Dataset


@dataclass(frozen=True)
class Results:
    """Results of several runs and theory scans, in the order of their files."""

    runs: tuple[Result, ...] = ()
    scans: tuple[Scan, ...] = ()

    def of_figure(self, number: str) -> Results:
        """The results of one figure."""
        start = f"fig{number}/"
        return Results(
            tuple(result for result in self.runs if result.run.id.startswith(start)),
            tuple(scan for scan in self.scans if scan.transition.id.startswith(start)),
        )


def read_results(paths: Iterable[Path]) -> Results:
    """The results in files of measures and of theory scans."""
    runs, scans = [], []
    for path in paths:
        try:
            data = read_dataset(path, "measures")
        except FileError as error:
            if "holds transition" not in str(error):
                raise
            data = read_dataset(path, "transition")
            scans.append(Scan(Transition.model_validate_json(data.attrs["run"]), data))
            continue
        members = Run.model_validate_json(data.attrs["run"]).members
        for run, member in zip(members, split(data), strict=True):
            verdict = str(member.attrs["converged"])
            faults = () if verdict == "yes" else tuple(verdict.removeprefix("no: ").split(", "))
            runs.append(Result(run, member, not faults, faults))
    return Results(tuple(runs), tuple(scans))
