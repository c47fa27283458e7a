"""Benchmarks time the same step everywhere. No test measures time."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from bench import clock, roofline, solvers, steps
from bench.__main__ import main
from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.network import Weights
from weightsharing.sampling import langevin, posterior
from weightsharing.sampling.backends import fused, gpu
from weightsharing.theory.action import stationary_point
from weightsharing.theory.minimiser import minimise
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.search import coherent_start

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_energy_of_other_implementations_is_that_of_the_package(kind: Kind) -> None:
    run = steps.benchmark_run(kind, 12)
    task = run.tasks[0]
    target = posterior.build([task], run.architecture, run.kappa, CPU, torch.float32)
    stream = torch.Generator().manual_seed(3)
    matrices = run.architecture.weight_matrices
    shapes = ((matrices, 12, 12), (12, steps.PATTERNS), (12,))
    recurrent, input_, readout = (torch.randn(shape, generator=stream) for shape in shapes)
    recurrent = recurrent / np.sqrt(12.0)
    energy = langevin.energy(Weights(recurrent[None], input_[None], readout[None]), target)
    plain = steps.network_energy(kind, 12, torch.tensor(steps.LABELS))
    torch.testing.assert_close(energy[0], plain([recurrent, input_, readout]))


@pytest.mark.parametrize("name", list(steps.ON_GPU))
def test_rows_of_a_gpu_make_the_step_of_the_package(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU, fused steps and graphs are refused: all rows exist and make the same step."""
    monkeypatch.setattr(fused, "objection", lambda *arguments: "no GPU")
    monkeypatch.setattr(gpu, "captured", lambda step, memory: step)
    assert name in steps.implementations(torch.device("cuda"))
    assert name not in steps.implementations(CPU)
    step = steps.ON_GPU[name]("dnn", 8, CPU)
    step()
    memory = inspect.getclosurevars(step).nonlocals["memory"].clone()
    package_step = steps.package_step("dnn", 8, CPU)
    package_step()
    state = inspect.getclosurevars(package_step).nonlocals["state"]
    torch.testing.assert_close(memory, state.memory)


def test_work_of_a_step_counts_every_weight_once() -> None:
    rnn, dnn = (
        roofline.step_work(Architecture(kind=kind, steps=8), 100, patterns=4, chains=2)
        for kind in ("rnn", "dnn")
    )
    assert rnn.deviates == 2 * 100**2
    assert dnn.deviates == 7 * rnn.deviates
    # 7 forward and 7 backward products read a matrix; the update reads and writes 1 or 7.
    assert rnn.bytes == 2 * 4 * 100**2 * (14 + 2)
    assert dnn.bytes == 2 * 4 * 100**2 * (14 + 14)
    assert rnn.operations == dnn.operations == 2 * 2 * 100**2 * 4 * 21
    ceilings = roofline.Ceilings(bytes=1e9, operations=1e12, deviates=1e6)
    assert rnn.least_seconds(ceilings) == rnn.deviates / 1e6


def test_gradient_descent_ends_at_the_minimum_of_the_newton_method() -> None:
    run = steps.benchmark_run("rnn", 12)
    problem = linear_problem(run.tasks[0], Architecture(kind="rnn", steps=4), 0.5)
    start = coherent_start(problem)
    assert solvers.descend(problem, start) < solvers.DESCENT_TOLERANCE
    assert stationary_point(problem, minimise(problem, start)).converged


def test_bench_writes_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "REPEATS", 1)
    monkeypatch.setattr(
        roofline, "measure_ceilings", lambda device: roofline.Ceilings(1e9, 1e9, 1e9)
    )
    path = tmp_path / "bench.nc"
    words = ["--parts", "steps", "--widths", "8", "--threads", "1", "--device", "cpu"]
    main([str(path), "--plot", str(tmp_path / "bench.png"), *words])
    assert (tmp_path / "bench.png").stat().st_size > 1000
    with xr.open_dataset(path) as measured:
        step_seconds = measured["step_seconds"].sel(implementation="weightsharing")
        assert dict(step_seconds.sizes) == {"network": 2, "width": 1}
        assert bool((step_seconds > 0).all())
        assert bool((measured["underdamped_seconds"] > 0).all())
        assert {"device", "torch", "git_commit"} <= set(measured.attrs)
