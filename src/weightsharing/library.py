"""The library for notebooks: tasks, networks, theory, samples and their comparison, without files.

The verbs of the command line call the same functions. ``import weightsharing as ws`` has these names:

    task = ws.sinusoid(steps=10, period=7.5, supervised=[1, 4, 9])
    network = ws.rnn(steps=10, w=0.5)
    theory = ws.solve(task, network, kappa=0.1)
    draws = ws.sample(task, network, kappa=0.1, width=256)
    report = ws.compare(theory, draws)

All results are xarray datasets with named axes. ``draws`` has the axes chain and draw, which ArviZ knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pydantic import ValidationError

from weightsharing import given
from weightsharing.errors import ConfigError
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array
from weightsharing.model.condition import Condition
from weightsharing.model.task import Task
from weightsharing.model.tasks import ArraysTask, EndpointTask, SinusoidTask

if TYPE_CHECKING:
    from weightsharing.model.activations import ActivationName
    from weightsharing.model.architecture import Kind
    from weightsharing.sampling.run import Device
    from weightsharing.theory.law import OrderParameterLaw
    from weightsharing.theory.problem import LinearProblem

# Root seed of chains, and the id in messages.
SEED, NAME = 20260216, "library"
# Shortest networks.
FEWEST_STEPS = 2


# --- tasks and networks -----------------------------------------------------------------------------


def endpoint(
    steps: int, *, signal: float | None = None, labels: Sequence[float] | None = None
) -> Task:
    """P orthonormal inputs at t = 0 and a label for each at output time T (THEORY 5, figures 3 and 4).

    Give the labels y_p, or the signal strength lambda of one pattern, whose label is lambda^(1/2). Raises
    ConfigError if both or neither are given.
    """
    if (signal is None) == (labels is None):
        raise ConfigError("endpoint: give either signal or labels")
    if signal is not None:
        labels = (given.positive("signal", signal) ** 0.5,)
    record = given.record(EndpointTask, {"labels": given.numbers("labels", labels)})
    return record.make(given.count("steps", steps, FEWEST_STEPS))


def sinusoid(
    steps: int, *, period: float | None = None, supervised: Sequence[int] | None = None
) -> Task:
    """x^t = delta_(t,0) and targets cos(2 pi t / period), t = 1..T (figures 2 and 5).

    period: T if None. supervised: output times trained on, 1 to T; all if None. The other targets measure
    generalisation.
    """
    steps = given.count("steps", steps, FEWEST_STEPS)
    fields: dict[str, object] = {}
    if period is not None:
        fields["period"] = given.number("period", period)
    if supervised is not None:
        given.numbers("supervised", supervised)
        times = [given.count(f"supervised[{n}]", time) for n, time in enumerate(supervised)]
        if max(times) > steps or len(set(times)) < len(times):
            raise ConfigError(
                f"supervised: got {times}, want different output times from 1 to T = {steps}"
            )
        fields["supervised"] = times
    return given.record(SinusoidTask, fields).make(steps)


def rnn(
    steps: int, *, activation: ActivationName = "linear", w: float = 1.0, u: float = 1.0,
    v: float = 1.0,
) -> Architecture:  # fmt: skip
    """An RNN of T = ``steps``, one recurrent matrix for all. w, u, v: prior variances (THEORY 1)."""
    return _network("rnn", steps, activation, {"w": w, "u": u, "v": v})


def dnn(
    steps: int, *, activation: ActivationName = "linear", w: float = 1.0, u: float = 1.0,
    v: float = 1.0,
) -> Architecture:  # fmt: skip
    """A DNN of T = ``steps`` layers: a recurrent matrix of its own for each; arguments as of ``rnn``."""
    return _network("dnn", steps, activation, {"w": w, "u": u, "v": v})


def _network(
    kind: Kind, steps: int, activation: ActivationName, prior: Mapping[str, float]
) -> Architecture:
    fields = {"kind": kind, "steps": given.count("steps", steps), "activation": activation}
    values = {name: given.positive(name, value) for name, value in prior.items()}
    return given.record(Architecture, fields | {"prior": values})


# --- theory -----------------------------------------------------------------------------------------


def solve(task: Task, network: Architecture, kappa: float) -> xr.Dataset:
    """The kernel theory for N to infinity: all stationary points, that of lowest action first.

    kappa: temperature; kappa / N is the variance of the noise of the labels. Variables and axes are those
    of ``theory.solve.solve``; without supervised targets, the theory is that of untrained networks.
    Raises ConfigError if task and network do not fit, or if there is no theory of this network.
    """
    from weightsharing.theory.solve import solve

    known = condition(task, network, kappa)
    return solve(task, network, kappa).assign_attrs(condition=known.theory_key)


def critical_signal(network: Architecture, kappa: float) -> float:
    """lambda_c of a linear RNN on ``endpoint``, in closed form (THEORY 5)."""
    from weightsharing.theory.transition import critical_signal

    _has_transition(network)
    return critical_signal(network.steps, network.prior, given.positive("kappa", kappa))


def order_parameter_law(
    signal: float, network: Architecture, kappa: float, width: int
) -> OrderParameterLaw:
    """The law of |m| in linear RNNs of width N on ``endpoint`` (THEORY 6): p(m), mean and moments."""
    from weightsharing.theory.finite_width import order_parameter_law

    return order_parameter_law(_endpoint(signal, network, kappa), given.count("width", width))


def landau_curve(
    signal: float, network: Architecture, kappa: float, order_parameters: Sequence[float] | Array
) -> xr.DataArray:
    """F(m), the least action at order parameter m of a linear RNN on ``endpoint`` (THEORY 5, figure 4b).

    order_parameters: m, from 0 on, increasing. F is even in m, and -ln p(m) / N for wide networks.
    """
    from weightsharing.theory.transition import landau_curve

    values = np.array(given.numbers("order_parameters", order_parameters))
    if values[0] != 0 or (np.diff(values) <= 0).any():
        raise ConfigError("order_parameters: must start at 0 and increase")
    curve = landau_curve(_endpoint(signal, network, kappa), values)
    return xr.DataArray(curve.action, {"order_parameter": values}, name="action")


def _endpoint(signal: float, network: Architecture, kappa: float) -> LinearProblem:
    from weightsharing.theory.transition import endpoint_problem

    _has_transition(network)
    return endpoint_problem(
        given.positive("signal", signal), network, given.positive("kappa", kappa)
    )


def _has_transition(network: Architecture) -> None:
    from weightsharing.theory.scan import NO_TRANSITION, has_transition

    given.instance("network", network, Architecture, "ws.rnn")
    if not has_transition(network):
        raise ConfigError(f"network: {NO_TRANSITION}")


# --- samples ----------------------------------------------------------------------------------------


def sample(
    task: Task,
    network: Architecture,
    kappa: float,
    width: int,
    method: str = "exact",
    *,
    theory: xr.Dataset | None = None,
    seed: int = SEED,
    device: Device = "auto",
    threads: int = 1,
    progress: bool = False,
    **settings: Any,  # noqa: ANN401
) -> xr.Dataset:
    """Networks of width N drawn from the posterior: kernels, outputs and loss, (chain, draw, ...).

    method: "exact" (activities, weights integrated out), "kinetic" (underdamped Langevin dynamics of the
    weights) or "sgld". settings: of its record in ``sampling``; those that are not given have usual
    lengths and a step from the curvature of the energy (``sampling.defaults``). theory: of ``solve``.
    If it is given, chains start in its phase (``start="lowest"``), else untrained (``start="prior"``).
    threads: of the CPU; more than one helps wide networks only. progress: whether a bar is shown.

    Raises ConfigError naming a bad setting, StepSizeError or DivergenceError if the chains fail.
    """
    import torch

    from weightsharing.sampling.chain import sample, silent
    from weightsharing.sampling.defaults import default_settings
    from weightsharing.sampling.initial import start_kernel
    from weightsharing.sampling.run import Run
    from weightsharing.terminal import progress as bar

    known = condition(task, network, kappa)
    threads = given.count("threads", threads)
    if theory is not None:
        given.instance("theory", theory, xr.Dataset, "ws.solve")
    wanted = {"width": width, "start": "prior" if theory is None else "lowest", **settings}
    wanted = {name: given.plain(value) for name, value in wanted.items()}
    sampler = default_settings(method, task, network, known.kappa, wanted)
    fields = {"seed": seed, "device": device, "sampler": sampler.model_dump()}
    run = given.record(Run, known.model_dump() | fields)
    start = None
    if sampler.start != "prior":
        if theory is None:
            raise ConfigError(f"theory: missing; start is {sampler.start!r}, which is read from it")
        _same_condition(theory, known)
        start = start_kernel(sampler.start, theory)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (draws,) = sample(run, [task], [start], progress=bar if progress else silent)
    finally:
        torch.set_num_threads(before)
    return draws.assign_attrs(run=run.model_dump_json())


def descend(
    task: Task,
    network: Architecture,
    kappa: float,
    width: int,
    *,
    steps: int = 20_000,
    step_size: float | None = None,
    networks: int = 4,
    records: int = 100,
    weight_decay: bool = True,
    seed: int = SEED,
) -> xr.Dataset:
    """Plain gradient descent from untrained weights, SGLD without its noise: (network, record, ...).

    With ``weight_decay`` it descends the energy of the posterior, N/(2 kappa) times the loss and the
    prior, else the loss alone. step_size: eta; from the curvature of the energy if not given. Variables:
    kernel, output, loss along ``record`` with the number of the step, and the weights at the end. Raises
    ConfigError for a bad setting, DivergenceError if the step is too large.
    """
    from weightsharing.model.axes import KERNEL_AXES, OUTPUT_AXES
    from weightsharing.sampling.defaults import descent_step
    from weightsharing.sampling.descent import descend
    from weightsharing.sampling.draws import WEIGHT_AXES

    known, decays = condition(task, network, kappa), given.flag("weight_decay", weight_decay)
    width, steps, networks, records = (
        given.count(name, value)
        for name, value in (
            ("width", width), ("steps", steps), ("networks", networks), ("records", records),
        )
    )  # fmt: skip
    if records > steps:
        raise ConfigError(f"records: got {records}, want at most steps = {steps}")
    if step_size is not None:
        step_size = given.positive("step_size", step_size)
    else:
        step_size = descent_step(task, network, known.kappa)
    seed = given.count("seed", seed, 0)
    path = descend(
        task, network, known.kappa, width, networks, step_size, steps, records, decays, seed
    )
    along = ("network", "record")
    variables: dict[str, Any] = {
        "kernel": ((*along, *KERNEL_AXES), path.kernel),
        "output": ((*along, *OUTPUT_AXES), path.output),
        "loss": (along, path.loss),
    }
    for (name, axes), block in zip(WEIGHT_AXES.items(), path.weights, strict=True):
        variables[name] = (("network", *axes), block)
    return xr.Dataset(
        variables, coords={"step": ("record", path.step)}, attrs={"step_size": step_size}
    )


def compare(theory: xr.Dataset | None, draws: xr.Dataset) -> xr.Dataset:
    """Theory beside samples: kernels, outputs, order parameter, spectra, each with its error bar.

    theory: of ``solve``; None for networks that have none. draws: of ``sample``. The variables are those
    of ``measures.compare.compare``, its attributes converged and faults the verdict. ``zscores`` has the
    distance of each kernel entry from the theory with its 1/N term, in standard errors. Raises
    ConfigError if both are of different conditions.
    """
    from weightsharing.measures.compare import compare
    from weightsharing.sampling.run import Run

    given.instance("draws", draws, xr.Dataset, "ws.sample")
    if "run" not in draws.attrs or not {"chain", "draw"} <= set(draws.sizes):
        raise ConfigError("draws: want the dataset that ws.sample makes, whole")
    run = Run.model_validate_json(draws.attrs["run"])
    if theory is not None:
        given.instance("theory", theory, xr.Dataset, "ws.solve")
        _same_condition(theory, run)
    measures = compare(run, run.tasks[0], theory, draws)
    expected = measures.get("kernel_finite_width", measures.get("kernel_theory"))
    if expected is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            measures["zscores"] = (measures["kernel"] - expected) / measures[
                "kernel_standard_error"
            ]
    return measures.assign_attrs(run=draws.attrs["run"])


def condition(task: Task, network: Architecture, kappa: float) -> Condition:
    """Task, network and temperature as one record. Raises ConfigError if they do not fit together."""
    given.instance("task", task, Task, "ws.Task, ws.endpoint or ws.sinusoid")
    given.instance("network", network, Architecture, "ws.rnn or ws.dnn")
    if task.steps != network.steps:
        raise ConfigError(f"task: {task.steps} times, but the network has T = {network.steps}")
    if not task.inputs.any():
        raise ConfigError("task: all inputs are 0")
    fields: dict[str, Any] = {"id": NAME, "architecture": network.model_dump()}
    fields["kappa"] = given.positive("kappa", kappa)
    try:
        fields["task"] = ArraysTask.of(task).model_dump()
    except ValidationError as error:
        raise ConfigError("task: its numbers must be within -1e9 and 1e9") from error
    return given.record(Condition, fields)


def _same_condition(theory: xr.Dataset, known: Condition) -> None:
    if theory.attrs.get("condition") != known.theory_key:
        raise ConfigError("theory: of another task, network or kappa")
