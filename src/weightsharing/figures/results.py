"""Results of runs, as figures and claims read them: each file is opened once, parameters are typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weightsharing.errors import FileError
from weightsharing.files import read_dataset, split
from weightsharing.model.architecture import Kind
from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.sampling.run import Run
from weightsharing.theory.law import OrderParameterLaw
from weightsharing.theory.scan import Transition

Role = Literal["trained", "exact"]
ROLES: tuple[Role, ...] = ("trained", "exact")


class NoDataError(Exception):
    """Something cannot be computed from the files at hand; the message says what is missing."""


def figure_of(identity: str) -> str:
    """The number of the figure that a run belongs to, by its id: "4" of "fig4/depth4"."""
    return identity.split("/")[0].removeprefix("fig")


@dataclass(frozen=True)
class Result:
    """One run, or one set of a family, with its measures.

    run: the parameters; of a family, those of the member. data: the measures, as ``measures.compare``
    makes them. converged: whether theory and chains did. faults: names of what did not.
    """

    run: Run
    data: xr.Dataset
    converged: bool
    faults: tuple[str, ...]

    @classmethod
    def of(cls, run: Run, data: xr.Dataset) -> Result:
        """The result of a run that is no family. Raises KeyError if ``data`` has no verdict."""
        faults = tuple(str(data.attrs["faults"]).split(", ")) if data.attrs["faults"] else ()
        return cls(run, data, bool(data.attrs["converged"]), faults)

    @property
    def name(self) -> str:
        """The id of the run; a member of a family has its set at the end, as in "fig5/rnn 2-4"."""
        return self.run.id

    @property
    def set_name(self) -> str:
        """The set of a family's member, as in "2-4"."""
        return self.run.id.split()[-1]

    @property
    def kind(self) -> Kind:
        """Kind of the network."""
        return self.run.architecture.kind

    @property
    def method(self) -> str:
        """Method of the sampler."""
        return self.run.sampler.method

    @property
    def role(self) -> Role:
        """Whether the weights were trained, or the exact sampler drew the activities."""
        return "exact" if self.method == "exact" else "trained"

    @property
    def width(self) -> int:
        """N."""
        return self.run.sampler.width

    @property
    def signal(self) -> float:
        """The signal strength lambda, the sum of the squared supervised targets."""
        return float(self.data.attrs["signal"])

    @property
    def supervised_times(self) -> tuple[int, ...]:
        """Output times at which any pattern is supervised."""
        chosen = self.data["supervised"].to_numpy().any(axis=0)
        return tuple(int(time) for time in self.data["output_time"].to_numpy()[chosen])

    @property
    def task(self) -> Task:
        """The task that was learned."""
        return Task(
            inputs=self.data["input"].to_numpy(),
            targets=self.data["target"].to_numpy(),
            supervised=self.data["supervised"].to_numpy().astype(bool),
        )

    @property
    def verdict(self) -> str:
        """The verdict in words: "yes", or "no: " and the faults."""
        return "yes" if self.converged else f"no: {', '.join(self.faults)}"

    def faults_with(self, *measures: str) -> tuple[str, ...]:
        """The faults, and those of ``measures`` that did not converge.

        measures: such as "alignment" or "coherence", on which the verdict does not depend.
        """
        return self.faults + tuple(
            name for name in measures if not self.data.attrs[f"{name}_converged"]
        )

    def array(self, name: str) -> Array:
        """The values of a measure. Raises NoDataError if the run lacks it."""
        if name not in self.data:
            raise NoDataError(f"{self.name} has no {name.replace('_', ' ')}")
        return np.asarray(self.data[name].to_numpy())

    def value(self, name: str) -> float:
        """A scalar measure. Raises NoDataError if the run lacks it."""
        return float(self.array(name))


class Branch(NamedTuple):
    """Points of the ordered branch for N to infinity: m, lambda, and whether each is a minimum."""

    order_parameter: Array
    signal: Array
    stable: NDArray[np.bool_]


@dataclass(frozen=True)
class Scan:
    """The theory of one depth over the signal strength, as the verb ``transition`` writes it."""

    transition: Transition
    data: xr.Dataset

    @property
    def depth(self) -> int:
        """T."""
        return self.transition.architecture.steps

    @property
    def critical_signal(self) -> float:
        """lambda_c."""
        return float(self.data.attrs["critical_signal"])

    @property
    def is_second_order(self) -> bool:
        """Whether the transition is of second order."""
        return bool(self.data.attrs["order"] == "second")

    @property
    def branch(self) -> Branch:
        """The ordered branch, along m."""
        return Branch(
            order_parameter=self.data["ordered_order_parameter"].to_numpy(),
            signal=self.data["ordered_signal"].to_numpy(),
            stable=self.data["ordered_curvature"].to_numpy() > 0,
        )

    def law(self, width: int, signal: float) -> OrderParameterLaw:
        """The law of |m| at N and lambda. Raises NoDataError if the scan lacks it."""
        if "law" in self.data.sizes:
            ratio = self.data["law_ratio"].to_numpy() * self.critical_signal
            found = np.isclose(ratio, signal, rtol=1e-9) & (
                self.data["law_width"].to_numpy() == width
            )
            if found.any():
                one = self.data.isel(law=int(found.argmax()))
                return OrderParameterLaw(
                    one["law_order_parameter"].to_numpy(), one["law_density"].to_numpy()
                )
        raise NoDataError(f"{self.transition.id} has no law of m at N = {width} and {signal:.4g}")


@dataclass(frozen=True)
class Results:
    """Results of several runs and theory scans, in the order of their files."""

    runs: tuple[Result, ...] = ()
    scans: tuple[Scan, ...] = ()

    def of_figure(self, number: str) -> Results:
        """The results of one figure."""
        return Results(
            tuple(run for run in self.runs if figure_of(run.name) == number),
            tuple(scan for scan in self.scans if figure_of(scan.transition.id) == number),
        )

    def select(self, *, kind: Kind | None = None, role: Role | None = None) -> tuple[Result, ...]:
        """The runs of one kind of network, of one role, or of both."""
        return tuple(
            run for run in self.runs if kind in (None, run.kind) and role in (None, run.role)
        )


def values(runs: Sequence[Result], name: str) -> Array:
    """A scalar measure of each run."""
    return np.array([run.value(name) for run in runs])


def values_and_errors(runs: Sequence[Result], name: str) -> tuple[Array, Array]:
    """A scalar measure of each run, and its standard error."""
    return values(runs, name), values(runs, f"{name}_standard_error")


def read_results(
    paths: Iterable[Path], expected: Mapping[str, Run | Transition], *, complete: bool = False
) -> Results:
    """The results in files of measures and of theory scans, which are told apart by their content.

    expected: the runs of the configuration by their ids; each file must be of one of them. complete:
    whether each of them must have a file. A family has one result for each member. Raises FileError if a
    file is missing, damaged, of other content, of another run, given twice or of another version of the
    program.
    """
    runs: list[Result] = []
    scans: list[Scan] = []
    of_run: dict[str, Path] = {}
    for path in paths:
        data = read_dataset(path, ("measures", "transition"), expected)
        try:
            if data.attrs["content"] == "transition":
                scans.append(Scan(Transition.model_validate_json(data.attrs["run"]), data))
                identity = scans[-1].transition.id
            else:
                run = Run.model_validate_json(data.attrs["run"])
                runs += starmap(Result.of, zip(run.members, split(data), strict=True))
                identity = run.id
        except (KeyError, ValueError) as error:
            raise FileError(
                f"{path}: written by another version; delete it and run again"
            ) from error
        if identity in of_run:
            raise FileError(f"{path}: results of {identity}, as {of_run[identity]} has them")
        of_run[identity] = path
    missing = [name for name in expected if name not in of_run]
    if complete and missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise FileError(f"--results: those of {missing[0]}{others} are missing")
    return Results(tuple(runs), tuple(scans))
