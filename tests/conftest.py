"""Shared builders. Every random test fixes its seed; z-scores state their false-alarm rate."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

# As in the commands, and before NumPy is loaded: a second thread only slows down matrices this small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Of a notebook that runs the tests.
os.environ.pop("MPLBACKEND", None)

import numpy as np
import pytest
import torch
import xarray as xr
from scipy import stats

from weightsharing.cli import main
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.model.tasks import EndpointTask, SinusoidTask
from weightsharing.sampling import SamplerSettings, chain
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.run import Device, Run
from weightsharing.sampling.sgld import LangevinSettings
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import LinearProblem, linear_problem
from weightsharing.theory.search import stationary_points

# The same for networks.
torch.set_num_threads(1)

# A shell starts its background jobs with SIGINT ignored, and they pass that on to what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
PRIOR = Prior(w=1.0, u=1.0, v=1.0)
KAPPA = 0.1

# Probability that a correct code fails one stochastic test. With about twenty such tests, one fixed
# seed in fifty thousand would have had to be unlucky.
FALSE_ALARM = 1e-6


def endpoint(
    kind: Kind, steps: int, labels: list[float], kappa: float = KAPPA, prior: Prior = PRIOR
) -> LinearProblem:
    """The linear problem of one network on the endpoint task."""
    task = EndpointTask(labels=tuple(labels)).make(steps)
    return linear_problem(task, Architecture(kind=kind, steps=steps, prior=prior), kappa)


def endpoint_run(
    signal: float, *, kind: Kind = "rnn", steps: int = 4, kappa: float = KAPPA,
    device: Device = "cpu", **sampler: Any,
) -> Run:  # fmt: skip
    """A run on the endpoint task with one pattern and a small, quick sampler."""
    defaults: dict[str, Any] = {
        "method": "sgld", "precision": "float32", "start": "prior", "width": 32,
        "step_size": 1e-3, "burn_in": 2.0, "duration": 10.0, "draws": 100, "chains": 2,
    }  # fmt: skip
    return _run(signal, kind, steps, kappa, device, LangevinSettings(**defaults | sampler))


def kinetic_run(
    signal: float, *, kind: Kind = "rnn", steps: int = 4, kappa: float = KAPPA,
    device: Device = "cpu", **sampler: Any,
) -> Run:  # fmt: skip
    """The same with underdamped dynamics."""
    defaults: dict[str, Any] = {
        "method": "kinetic", "precision": "float32", "start": "prior", "width": 32,
        "step_size": 0.05, "burn_in": 2.0, "duration": 10.0, "draws": 100, "chains": 2,
    }  # fmt: skip
    return _run(signal, kind, steps, kappa, device, KineticSettings(**defaults | sampler))


def exact_run(
    signal: float, *, kind: Kind = "rnn", steps: int = 4, kappa: float = KAPPA,
    device: Device = "cpu", **sampler: Any,
) -> Run:  # fmt: skip
    """The same with the exact sampler."""
    defaults: dict[str, Any] = {
        "method": "exact", "start": "prior", "width": 32, "warm_up": 100, "thinning": 1,
        "leapfrog_steps": 8, "draws": 400, "chains": 4,
    }  # fmt: skip
    return _run(signal, kind, steps, kappa, device, ExactSettings(**defaults | sampler))


def _run(
    signal: float, kind: Kind, steps: int, kappa: float, device: Device, sampler: SamplerSettings
) -> Run:
    return Run(
        id="test/run",
        seed=11,
        device=device,
        architecture=Architecture(kind=kind, steps=steps),
        kappa=kappa,
        task=EndpointTask(labels=(signal**0.5,)),
        sampler=sampler,
    )


def draw(run: Run, start: Array | None = None, **options: Any) -> xr.Dataset:
    """The draws of a run of a single task; ``start`` is H of the first activities."""
    (samples,) = chain.sample(run, [run.tasks[0]], [start], **options)
    return samples


def assert_z(
    estimate: Array, expected: Array | float, error: Array, freedom: float = np.inf
) -> None:
    """Fail if any z-score is improbable at ``FALSE_ALARM``, corrected for their number (Sidak)."""
    z = np.atleast_1d((np.asarray(estimate) - expected) / error)
    assert np.all(np.isfinite(z)), z
    each = 1.0 - (1.0 - FALSE_ALARM) ** (1.0 / z.size)
    limit = stats.t(freedom).isf(each / 2.0)
    assert np.abs(z).max() < limit, f"largest |z| {np.abs(z).max():.2f} exceeds {limit:.2f}:\n{z}"


def prior_network_kernels(task: Task, kind: Kind, width: int, samples: int, seed: int) -> Array:
    """Kernels H of untrained linear networks, written out with loops, apart from the package.

    Returns H as (sample, T, T) for one pattern, w = u = 1, and is used to reweight the prior to the
    posterior: an exact finite-width reference for the theory.
    """
    generator = np.random.default_rng(seed)
    _, steps, features = task.inputs.shape
    kernels = np.empty((samples, steps, steps))
    for sample in range(samples):
        matrices = generator.standard_normal((1 if kind == "rnn" else steps - 1, width, width))
        matrices /= np.sqrt(width)
        into = generator.standard_normal((width, features))
        activity = [into @ task.inputs[0, 0]]
        for time in range(1, steps):
            matrix = matrices[0 if kind == "rnn" else time - 1]
            activity.append(matrix @ activity[-1] + into @ task.inputs[0, time])
        stacked = np.stack(activity)
        kernels[sample] = stacked @ stacked.T / width
    return kernels


def posterior_mean(
    values: Array, kernels: Array, task: Task, width: int, kappa: float
) -> tuple[Array, Array, float]:
    """Posterior mean of ``values``, its standard error and the effective sample size.

    Importance weights of prior networks: p(y | H) = N(y; 0, (kappa + v H_SS) / N) with v = 1.
    """
    chosen = np.flatnonzero(task.supervised[0])
    labels = task.targets[0, chosen]
    noisy = kappa * np.eye(chosen.size) + kernels[:, chosen][:, :, chosen]
    answer = np.linalg.solve(noisy, np.broadcast_to(labels, (len(kernels), chosen.size))[..., None])
    log_weight = -0.5 * width * (answer[..., 0] @ labels) - 0.5 * np.linalg.slogdet(noisy)[1]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = np.tensordot(weight, values, axes=1)
    error = np.sqrt(np.tensordot(weight**2, (values - mean) ** 2, axes=1))
    return mean, error, float(1.0 / (weight**2).sum())


def rotation(steps: int, supervised: set[int]) -> tuple[Task, Array]:
    """One input, outputs cos(2 pi t / T): the rotation of figure 5. Returns the task and all targets."""
    task = SinusoidTask().make(steps)
    chosen = np.isin(np.arange(1, steps + 1), list(supervised))[None]
    task = dataclasses.replace(task, supervised=chosen)
    return task, task.targets[0]


def given_task(inputs: Array, targets: Array) -> Task:
    """A task that is supervised wherever there is a target; shapes as in ``Task``."""
    return Task(inputs, targets, np.isfinite(targets))


def lowest(problem: LinearProblem, random_starts: int = 4) -> StationaryPoint:
    """The theory of a linear problem: its lowest stationary point, a converged minimum."""
    point = stationary_points(problem, random_starts=random_starts)[0]
    assert not point.faults
    return point


def second_order(
    function: Callable[[float], Any], derivative: Any, step: float = 1e-3, rel: float = 0.1
) -> float:
    """The error of a central difference at 0, with a tenth of ``step``; it must be of second order.

    ``derivative`` is then that of ``function``, up to this error.
    """
    errors = [
        float(np.linalg.norm((function(s) - function(-s)) / (2 * s) - derivative))
        for s in (step, step / 10)
    ]
    assert errors[0] / errors[1] == pytest.approx(100.0, rel=rel)
    return errors[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest first, so that no process is left alone with it in the end."""
    items.sort(key=lambda item: item.path.name != "test_workflow.py")


def succeed(*words: object) -> None:
    """Run a command of the command line, which must end with status 0."""
    assert main([str(word) for word in words]) == 0, words


def lines_of_failure(capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """Run a command, which must fail with status 1 and without output: the lines of its message."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 1, words
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def resolve(run: Run) -> None:
    """Write run.yaml and task.nc of a run to the working folder through the command line."""
    succeed("resolve", run.model_dump_json(), "run.yaml", "--task", "task.nc")


@pytest.fixture
def generator() -> np.random.Generator:
    """Random numbers with a fixed seed."""
    return np.random.default_rng(20260216)
