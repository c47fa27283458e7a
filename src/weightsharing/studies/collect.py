"""Theory and measures of a study as one dataset, with the grid as axes, and as a table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from weightsharing.errors import ConfigError, SolverError
from weightsharing.figures.results import Result
from weightsharing.measures.compare import errors_in_theory, theory_values
from weightsharing.model.condition import Condition
from weightsharing.model.symmetry import is_sign_symmetric
from weightsharing.studies.section import Study, network_at, points, theory_points
from weightsharing.theory.scan import has_transition
from weightsharing.theory.solve import solve
from weightsharing.theory.transition import coexistence_signal, critical_signal, ordered_branch

# Of these the samplers measure the same quantity, with error bars.
MEASURED = (
    "order_parameter",
    "endpoint_kernel",
    "temporal_coherence",
    "target_alignment",
    "generalisation_error",
)
# The ordered branch is followed to this multiple of lambda_c to look for coexistence.
FAR = 3.0
Progress = Callable[[int, int], None]


def solve_study(name: str, study: Study, threads: int, progress: Progress) -> xr.Dataset:
    """The theory at every point of the grid: axes network and those of the grid.

    Variables: ``NAME_theory`` for each quantity that the theory of the task has, converged (1 or 0), and
    for linear RNNs on an endpoint task over ``signal``, critical_signal and coexistence_signal (NaN
    without one) on the other axes. A point that cannot be solved is NaN. Raises ConfigError naming a bad
    point.
    """
    every = list(theory_points(name, study))
    shape = (len(study.networks), *(len(values) for values in study.axes.values()))
    found: dict[Hashable, Any] = {}
    with ProcessPoolExecutor(max_workers=threads) as pool:
        solved = pool.map(_values, [point.condition for point in every], chunksize=4)
        for number, (point, values) in enumerate(zip(every, solved, strict=True), start=1):
            for key, value in values.items():
                found.setdefault(key, np.full(shape, np.nan))[point.place] = value
            progress(number, len(every))
    axes = ("network", *study.axes)
    dataset = xr.Dataset(
        {key: (axes, values) for key, values in found.items()},
        coords={"network": labels(study), **{a: list(v) for a, v in study.axes.items()}},
    )
    return dataset.assign(_transitions(study))


def _values(known: Condition) -> dict[Hashable, float]:
    """The quantities of the theory of one condition."""
    task = known.tasks[0]
    try:
        theory = solve(task, known.architecture, known.kappa)
    except (SolverError, np.linalg.LinAlgError):
        return {"converged": 0.0}
    values = theory_values(theory, task)
    if is_sign_symmetric(task, known.architecture):  # m and -m are equally probable: |m|
        values["order_parameter_theory"] = abs(values["order_parameter_theory"])
    if np.isfinite(task.targets[:, 1:]).all():
        values |= errors_in_theory(theory, task, known.architecture)
    if "eigenvalue" in theory:
        values["largest_eigenvalue_theory"] = float(
            np.hypot(*theory["eigenvalue"].isel(point=0).to_numpy().T).max(initial=0.0)
        )
    action = float(theory["action"][0])
    return values | {"action_theory": action, "converged": float(theory.attrs["converged"])}


def _transitions(study: Study) -> dict[str, Any]:
    """lambda_c and the lambda of coexistence of linear RNNs, on the axes other than ``signal``."""
    if "signal" not in study.axes:
        return {}
    others = {axis: values for axis, values in study.axes.items() if axis != "signal"}
    shape = tuple(len(values) for values in others.values())
    critical, coexisting = ([np.full(shape, np.nan) for _ in study.networks] for _ in range(2))
    for index, network in enumerate(study.networks):
        for number, at in enumerate(points(others)):
            known = network_at(network, at)
            if not has_transition(known):
                continue
            kappa = at.get("kappa", study.kappa)
            lambda_c = critical_signal(known.steps, known.prior, kappa)
            critical[index].flat[number] = lambda_c
            try:
                branch = ordered_branch(known, kappa, FAR * lambda_c)
            except (SolverError, np.linalg.LinAlgError):
                continue
            coexisting[index].flat[number] = coexistence_signal(branch, known, kappa) or np.nan
    axes = ("network", *others)
    return {
        "critical_signal": (axes, np.stack(critical)),
        "coexistence_signal": (axes, np.stack(coexisting)),
    }


def with_measures(dataset: xr.Dataset, study: Study, results: Sequence[Result]) -> xr.Dataset:
    """The dataset with the measures of the samplers, on axes of their own.

    results: of the study's runs, in their order. Axes: network, sampler and ``sampled_AXIS``. Variables:
    each measured quantity with its standard error, and converged_samples.
    """
    if not study.samplers:
        return dataset
    axes = study.sampled_axes
    shape = (
        len(study.networks), len(study.samplers), *(len(values) for values in axes.values()),
    )  # fmt: skip
    if len(results) != int(np.prod(shape)):
        raise ConfigError(f"study: {len(results)} results, want {int(np.prod(shape))}")
    names = ("network", "sampler", *(f"sampled_{axis}" for axis in axes))
    variables: dict[str, Any] = {
        "converged_samples": (names, np.array([int(r.converged) for r in results]).reshape(shape))
    }
    for key in MEASURED:
        if all(key in result.data for result in results):
            for end in ("", "_standard_error"):
                values = np.array([result.value(f"{key}{end}") for result in results])
                variables[f"{key}{end}"] = (names, values.reshape(shape))
    samplers = [f"{one.method}, N = {one.width}" for one in study.samplers]
    if "width" in axes:
        samplers = [one.method for one in study.samplers]
    places: dict[str, Any] = {f"sampled_{axis}": list(values) for axis, values in axes.items()}
    return dataset.assign(variables).assign_coords(places | {"sampler": samplers})


def labels(study: Study) -> list[str]:
    """A name of each network: its kind, and what else differs between networks."""
    differ = {
        key
        for key in ("steps", "activation", "prior")
        if len({str(getattr(network, key)) for network in study.networks}) > 1
    }
    found = []
    for network in study.networks:
        parts = [network.kind.upper()]
        parts += [f"T = {network.steps}"] if "steps" in differ and "steps" not in study.grid else []
        parts += [network.activation] if "activation" in differ else []
        parts += [f"w = {network.prior.w:g}"] if "prior" in differ else []
        found.append(", ".join(parts))
    return found


def table(dataset: xr.Dataset) -> pd.DataFrame:
    """One row for each network and point of the grid, and one for each sampled point."""
    theory = [name for name in dataset if "sampler" not in dataset[name].dims]
    frames = [dataset[theory].to_dataframe().reset_index()]
    measured = [name for name in dataset if "sampler" in dataset[name].dims]
    if measured:
        frame = dataset[measured].to_dataframe().reset_index()
        frames.append(frame.rename(columns=lambda name: name.removeprefix("sampled_")))
    return pd.concat(frames, ignore_index=True)
