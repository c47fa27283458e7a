"""Benchmarks: that what is timed is the same thing everywhere. Nothing here measures time."""

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
from weightsharing.sampling.backends import fused, reference
from weightsharing.sampling.backends.fused import self_check
from weightsharing.theory.action import stationary_point
from weightsharing.theory.minimiser import minimise
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.search import coherent_start

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_the_energy_of_the_others_is_ours(kind: Kind) -> None:
    run = steps.benchmark_run(kind, 12)
    task = run.tasks[0]
    target = posterior.build([task], run.architecture, run.kappa, CPU, torch.float32)
    stream = torch.Generator().manual_seed(3)
    matrices = run.architecture.weight_matrices
    shapes = ((matrices, 12, 12), (12, steps.PATTERNS), (12,))
    recurrent, input_, readout = (torch.randn(shape, generator=stream) for shape in shapes)
    scaled = recurrent / np.sqrt(12.0)
    ours = langevin.energy(Weights(scaled[None], input_[None], readout[None]), target)
    theirs = steps.energy((recurrent, input_, readout), kind, torch.tensor(steps.LABELS))
    torch.testing.assert_close(ours[0], theirs)


@pytest.mark.parametrize("name", list(steps.ON_GPU))
def test_rows_of_a_gpu_make_our_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, with Triton and graphs refused: the rows are there and make the step of the others."""
    monkeypatch.setattr(self_check, "objection", lambda *arguments: "no GPU")
    monkeypatch.setattr(fused, "captured", lambda step, memory: step)
    assert name in steps.implementations(torch.device("cuda"))
    assert name not in steps.implementations(CPU)
    step = steps.ON_GPU[name]("dnn", 8, CPU)
    step()
    other = steps.package_step("dnn", 8, CPU, advance=reference.advance)
    other()
    ends = [inspect.getclosurevars(each).nonlocals["memory"] for each in (step, other)]
    torch.testing.assert_close(*ends)


def test_work_of_a_step_counts_every_weight_once() -> None:
    rnn, dnn = (
        roofline.step_work(Architecture(kind=kind, steps=8), 100, patterns=4, chains=2)
        for kind in ("rnn", "dnn")
    )
    assert rnn.deviates == 2 * 100**2
    assert dnn.deviates == 7 * rnn.deviates
    # 7 products forward and 7 backward read a matrix; the update reads and writes 1 or 7.
    assert rnn.bytes == 2 * 4 * 100**2 * (14 + 2)
    assert dnn.bytes == 2 * 4 * 100**2 * (14 + 14)
    assert rnn.operations == dnn.operations == 2 * 2 * 100**2 * 4 * 21
    ceilings = roofline.Work(bytes=1e9, operations=1e12, deviates=1e6)
    assert rnn.least_seconds(ceilings) == rnn.deviates / 1e6


def test_gradient_descent_ends_at_the_minimum_of_the_newton_method() -> None:
    run = steps.benchmark_run("rnn", 12)
    problem = linear_problem(run.tasks[0], Architecture(kind="rnn", steps=4), 0.5)
    start = coherent_start(problem)
    assert solvers.descend(problem, start) < solvers.DESCENT_TOLERANCE
    assert stationary_point(problem, minimise(problem, start)).converged


def test_bench_writes_what_it_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "REPEATS", 1)
    monkeypatch.setattr(roofline, "measure_ceilings", lambda device: roofline.Work(1e9, 1e9, 1e9))
    path = tmp_path / "bench.nc"
    words = ["--parts", "steps", "--widths", "8", "--threads", "1", "--device", "cpu"]
    main([str(path), "--plot", str(tmp_path / "bench.png"), *words])
    assert (tmp_path / "bench.png").stat().st_size > 1000
    with xr.open_dataset(path) as measured:
        own = measured["step_seconds"].sel(implementation="weightsharing")
        assert dict(own.sizes) == {"network": 2, "width": 1}
        assert bool((own > 0).all())
        assert bool((measured["underdamped_seconds"] > 0).all())
        assert {"device", "torch", "git_commit"} <= set(measured.attrs)
