"""Chains: reproducibility, killing and resuming, checks, and agreement with the theory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import KAPPA, PRIOR, ROOT, assert_z, draw, endpoint_run, exact_run, kinetic_run
from numpy.typing import NDArray

from weightsharing.cli import read_starts
from weightsharing.code import targets_behind
from weightsharing.errors import DeviceError, DivergenceError, FileError, StepSizeError
from weightsharing.files import task_dataset, write_dataset, write_record
from weightsharing.measures.branches import branch_signs
from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.architecture import Kind
from weightsharing.model.axes import Array
from weightsharing.model.symmetry import order_parameter, reflect_kernel, reflection
from weightsharing.model.task import Task
from weightsharing.sampling import SAMPLERS, chain, checkpoint, dynamics, posterior, random
from weightsharing.sampling.backends.compiled import step as compiled
from weightsharing.sampling.batches import single
from weightsharing.sampling.checkpoint import save_checkpoint
from weightsharing.sampling.run import Device, Run
from weightsharing.sampling.sgld import LangevinSettings
from weightsharing.theory import finite_width, search
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.solve import solve
from weightsharing.theory.transition import critical_signal


def task_of(run: Run) -> Task:
    return run.tasks[0]


def assert_equal(first: xr.Dataset, second: xr.Dataset) -> None:
    xr.testing.assert_identical(first.drop_attrs(), second.drop_attrs())


def test_same_seed_same_draws_and_chains_do_not_depend_on_their_number() -> None:
    run = endpoint_run(3.0, burn_in=0.5, duration=1.0, draws=10, chains=3)
    samples = draw(run)
    assert_equal(samples, draw(run))
    fewer = run.model_copy(update={"sampler": run.sampler.model_copy(update={"chains": 2})})
    np.testing.assert_array_equal(draw(fewer)["kernel"], samples["kernel"][:2])
    other = draw(run.model_copy(update={"seed": 12}))
    assert not np.any(other["loss"] == samples["loss"])
    assert not np.any(samples["loss"][0] == samples["loss"][1])


def test_random_streams_of_chains_are_independent() -> None:
    streams = random.new_streams(11, 2, torch.device("cpu"))
    first, second = random.normal(torch.empty(0), (4096,), streams)
    correlation = torch.corrcoef(torch.stack([first, second]))[0, 1] * len(first) ** 0.5
    assert_z(correlation.numpy(), 0.0, np.array(1.0))


INTERRUPTED = {
    "sgld-rnn": endpoint_run(3.0, burn_in=0.2, ramp=0.1, duration=0.6, draws=12, spectra=3),
    "sgld-dnn": endpoint_run(3.0, kind="dnn", burn_in=0.2, duration=0.6, draws=12, spectra=3),
    "exact-rnn": exact_run(3.0, warm_up=200, draws=12, thinning=50, spectra=3, leapfrog_steps=2),
}


@pytest.mark.parametrize("run", INTERRUPTED.values(), ids=list(INTERRUPTED))
def test_interrupted_and_resumed_is_bitwise_equal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by an exception at a checkpoint, in the burn-in and among the draws, then finished."""
    path = tmp_path / "c.npz"
    whole = draw(run)

    class Stopped(Exception):
        pass

    for stop in (100, 520):

        def save_and_stop(path: Path, key: str, step: int, arrays: Any, stop: int = stop) -> None:
            if step == stop:
                save_checkpoint(path, key, step, arrays)
                raise Stopped

        monkeypatch.setattr(checkpoint, "save_checkpoint", save_and_stop)
        with pytest.raises(Stopped):
            draw(run, checkpoint=path, checkpoint_seconds=0.0)
    monkeypatch.setattr(checkpoint, "save_checkpoint", save_checkpoint)
    monkeypatch.setattr(chain, "PROGRESS_SECONDS", 0.0)
    reported: list[int] = []
    resumed = draw(
        run, checkpoint=path, progress=lambda name: lambda done, total: reported.append(done)
    )
    assert reported[0] == 521
    assert_equal(resumed, whole)


def test_chain_killed_by_sigkill_and_rerun_is_bitwise_equal(tmp_path: Path) -> None:
    """The command is killed at its first checkpoint and run again."""
    run = endpoint_run(3.0, width=64, burn_in=0.0, duration=8.0, draws=400)
    write_record(run, tmp_path / "run.yaml")
    write_dataset(task_dataset(task_of(run)), tmp_path / "task.nc", "task", run)
    path = tmp_path / "c.npz"

    def command(output: str) -> list[str]:
        return [
            sys.executable, "-m", "weightsharing", "sample", str(tmp_path / "run.yaml"),
            str(tmp_path / "task.nc"), str(tmp_path / output),
            "--checkpoint", str(path), "--checkpoint-seconds", "0.2",
        ]  # fmt: skip

    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command("killed.nc"), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, "the chain ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed.nc").exists()

    resumed = subprocess.run(
        command("killed.nc"), env=environment, check=True, capture_output=True, text=True
    )
    assert "resuming at step" in resumed.stderr
    subprocess.run(command("whole.nc"), env=environment, check=True, capture_output=True)
    with (
        xr.open_dataset(tmp_path / "killed.nc") as killed,
        xr.open_dataset(tmp_path / "whole.nc") as whole,
    ):
        xr.testing.assert_equal(killed, whole)


@pytest.mark.parametrize("method", ["sgld", "kinetic"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_eigenvalues_are_those_of_the_weights(kind: Kind, method: str) -> None:
    """The last spectrum belongs to the last draw, whose weights are kept when asked for.

    So do the outputs, also where the readout is drawn for each draw.
    """
    short: dict[str, Any] = {
        "kind": kind,
        "draws": 8,
        "spectra": 4,
        "keep_weights": 2,
        "precision": "float64",
    }
    run = endpoint_run(3.0, burn_in=0.0, duration=0.4, **short)
    if method == "kinetic":
        run = kinetic_run(3.0, burn_in=4.0, duration=4.0, **short)
    samples = draw(run)
    assert samples["recurrent"].shape == (2, 2, run.architecture.weight_matrices, 32, 32)
    recurrent, input_, readout = (
        samples[name][0, -1].to_numpy() for name in ("recurrent", "input_weights", "readout")
    )
    found = samples["eigenvalue"].to_numpy()[0, -1] @ [1, 1j]
    for matrix, values in zip(recurrent, found, strict=True):
        expected = np.linalg.eigvals(matrix)
        np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(expected), atol=1e-9)
    activities = input_ @ task_of(run).inputs[0, 0]
    for time_ in range(1, 4):
        activities = recurrent[0 if kind == "rnn" else time_ - 1] @ activities
    assert readout @ activities / 32 == pytest.approx(float(samples["output"][0, -1, 0, -1]))
    np.testing.assert_array_equal(samples["spectrum_draw"], [1, 3, 5, 7])


def test_labels_grow_over_the_ramp() -> None:
    run = endpoint_run(4.0, burn_in=0.5, ramp=0.3)
    assert isinstance(run.sampler, LangevinSettings)
    cpu = torch.device("cpu")
    target = posterior.build([task_of(run)], run.architecture, KAPPA, cpu, torch.float64)
    sizes = [float(dynamics.ramped(target, n, run.sampler).targets[0, -1, 0]) for n in range(400)]
    np.testing.assert_allclose(sizes[:300], 2.0 * np.arange(1, 301) / 300)
    assert set(sizes[300:]) == {2.0}


def test_checkpoint_of_another_run_or_damaged_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = endpoint_run(3.0, burn_in=0.5, duration=0.5, draws=5)
    path = tmp_path / "c.npz"
    save_checkpoint(path, "another key", 3, {})
    whole = draw(run)
    assert_equal(draw(run, checkpoint=path), whole)
    assert "belongs to other parameters" in caplog.text
    for damaged in (b"\x00" * 100, b""):
        caplog.clear()
        path.write_bytes(damaged)
        assert_equal(draw(run, checkpoint=path), whole)
        assert "damaged" in caplog.text


def test_fingerprint_covers_parameters_task_and_start() -> None:
    run = endpoint_run(3.0)
    task, cpu = task_of(run), torch.device("cpu")
    batch = single(run, task)
    twice = Task(task.inputs * 2, task.targets, task.supervised)
    others: list[dict[str, Any]] = [
        {"members": (run, run), "tasks": (task, task)},
        {"members": (run.model_copy(update={"kappa": 0.2}),)},
        {"tasks": (twice,)},
        {"starts": np.eye(4)[None]},
    ]
    batches = [batch, *(replace(batch, **changes) for changes in others)]
    keys = {chain.fingerprint(each, cpu) for each in batches}
    assert len(keys | {chain.fingerprint(batch, torch.device("cuda"))}) == 6
    assert chain.fingerprint(replace(batch, name="other", checkpoint=Path("c")), cpu) in keys


@pytest.mark.parametrize("method", SAMPLERS)
def test_fingerprint_covers_the_code_of_its_sampler_alone(method: str) -> None:
    """The modules whose code is part of it; the source of the fused steps on a GPU is one of them."""
    module = f"weightsharing.sampling.{method}.sampler"
    assert SAMPLERS[method].__module__ == f"weightsharing.sampling.{method}"
    behind = {
        name.removeprefix("weightsharing.") for name in targets_behind(chain.__name__, module)
    }
    weights = {"langevin", "dynamics", "sgld.step", "kinetic.step", "backends.reference"}
    weights |= {"backends.compiled.step", "backends.fused", "backends.fused.triton_steps"}
    activities = {"exact.marginal", "exact.units", "exact.collective", "exact.adaptation"}
    covered, other = (activities, weights) if method == "exact" else (weights, activities)
    shared = {"chain", "posterior", "initial", "random", "batches", "run", f"{method}.sampler"}
    assert {f"sampling.{name}" for name in covered | shared} <= behind
    assert not behind & {f"sampling.{name}" for name in other}
    assert {"model.network", "model.architecture"} <= behind
    assert not [name for name in behind if name.split(".")[0] in ("theory", "figures", "commands")]


def test_settings_load_without_pytorch() -> None:
    """Configuration and figures import them, with the name and symbol of each sampler."""
    code = "import sys; from weightsharing.sampling import SAMPLERS; print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"
    for name in ("label", "marker"):
        assert len({getattr(kind, name) for kind in SAMPLERS.values()}) == len(SAMPLERS)


def test_step_size_too_large_is_refused_with_advice() -> None:
    run = endpoint_run(8.0, step_size=0.02, burn_in=2.0)
    with pytest.raises(StepSizeError, match=r"step_size: 0\.02 .* use at most 0"):
        draw(run)


def test_diverged_chain_is_stopped_with_the_step_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = endpoint_run(3.0)
    step: Any = compiled.step

    def broken(memory: NDArray[np.floating], *rest: object) -> None:
        step(memory, *rest)
        memory[1, -1] = np.nan

    monkeypatch.setattr(compiled, "step", broken)
    with pytest.raises(DivergenceError, match=r"chain 1 .* step 1: .* lower step_size"):
        draw(run)


def test_cuda_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = endpoint_run(3.0, device="cuda")
    with pytest.raises(DeviceError, match="no GPU"):
        draw(run)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("method", ["sgld", "exact"])
def test_gpu_agrees_with_cpu_in_distribution(method: str) -> None:
    losses = []
    devices: tuple[Device, ...] = ("cpu", "cuda")
    for device in devices:
        if method == "sgld":
            run = endpoint_run(1.0, width=64, duration=30.0, draws=300, device=device)
        else:
            run = exact_run(1.0, width=64, device=device)
        losses.append(estimate(draw(run)["loss"].to_numpy()))
    error = np.hypot(losses[0].standard_error, losses[1].standard_error)
    assert_z(losses[0].mean, losses[1].mean, error)


# --- against the theory -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_without_labels_sgld_samples_the_prior_kernel(kind: Kind) -> None:
    """y = 0: the kernel of the theory with its 1/N term, which then only shrinks H slightly."""
    run = endpoint_run(
        0.0, kind=kind, width=64, burn_in=4.0, duration=60.0, draws=300, step_size=4e-3
    )
    task = task_of(run)
    problem = linear_problem(task, run.architecture, run.kappa)
    kernel = search.stationary_points(problem)[0].kernel
    np.testing.assert_allclose(kernel, np.eye(4), atol=1e-9)
    expected = kernel + finite_width.kernel_correction(problem, kernel) / 64
    draws = estimate(draw(run)["kernel"].to_numpy()[:, :, 0, 0])
    diagonal = range(4)
    # The step-size bias of a free weight is eta / 2 of its variance, t + 1 of which enter H^(tt).
    bias = 0.5 * 4e-3 * (1.0 + np.arange(4))
    assert_z(
        draws.mean[diagonal, diagonal] - bias,
        np.diag(expected),
        np.hypot(draws.standard_error[diagonal, diagonal], 4.0 * np.diag(expected) / 64**2),
    )


@dataclass(frozen=True)
class Trained:
    """SGLD with two step sizes, and theory + 1/N term, for one signal strength."""

    kernels: list[Estimate]
    coherence: list[Estimate]
    theory: Array
    correction: Array
    width: int


@pytest.fixture(scope="module", params=["disordered", "ordered"])
def trained(request: pytest.FixtureRequest) -> Trained:
    """Both phases, away from the transition, where the expansion in 1/N holds at N = 64.

    kappa = 1 allows larger steps than the figures' 0.1 and so a longer chain in the same time. Both
    chains have the same number of steps.
    """
    ordered = request.param == "ordered"
    kappa, width, ratio = 1.0, 64, 4.0 if ordered else 0.5
    found: list[tuple[Estimate, Estimate]] = []
    for step_size, duration in ((5e-3, 100.0), (2.5e-3, 50.0)):
        run = endpoint_run(
            ratio * critical_signal(4, PRIOR, kappa), kappa=kappa, width=width,
            step_size=step_size, burn_in=10.0, duration=duration, draws=400, chains=4,
        )  # fmt: skip
        task = task_of(run)
        kernels = draw(run)["kernel"].to_numpy()
        signs = branch_signs(kernels, task, run.architecture)
        # Below the transition there is one branch, m = 0: nothing to align.
        assert bool((signs == 1.0).all()) != ordered
        kernels = reflect_kernel(kernels, signs, reflection(task, run.architecture))
        m = np.abs(order_parameter(kernels, np.ones(1)))
        found.append((estimate(kernels[:, :, 0, 0]), estimate(m)))
    problem = linear_problem(task, run.architecture, run.kappa)
    kernel = search.stationary_points(problem)[0].kernel
    assert (kernel[-1, -2] > 1) == ordered
    correction = finite_width.kernel_correction(problem, kernel)
    return Trained(
        [pair[0] for pair in found], [pair[1] for pair in found], kernel, correction, width
    )


def test_sgld_agrees_with_the_theory_to_order_one_over_n(trained: Trained) -> None:
    """H within 3 standard errors of theory + D/N, up to a remainder of 8 D/N^2, an eighth of it."""
    for kernel, coherence in zip(trained.kernels, trained.coherence, strict=True):
        assert coherence.rhat < 1.05
        assert coherence.effective_size > 100
        remainder = 8.0 * np.abs(trained.correction) / trained.width**2
        expected = trained.theory + trained.correction / trained.width
        z = (kernel.mean - expected) / (kernel.standard_error + remainder / 3.0)
        assert np.abs(z).max() < 3.0, z


def test_halving_the_step_size_moves_the_answer_within_error_bars(trained: Trained) -> None:
    coarse, fine = trained.kernels
    error = np.hypot(coarse.standard_error, fine.standard_error)
    assert_z(coarse.mean, fine.mean, error)


def test_a_chain_starts_on_the_branch_it_is_given() -> None:
    """Ordered or disordered: the first draws have the order parameter of the kernel they start from."""
    steps, width = 5, 256
    signal = 1.05 * critical_signal(steps, PRIOR, KAPPA)
    means = {}
    for start in ("ordered", "disordered"):
        run = endpoint_run(
            signal, steps=steps, width=width, burn_in=0.0, duration=0.5, draws=50, step_size=1e-3
        )
        task = task_of(run)
        problem = linear_problem(task, run.architecture, run.kappa)
        points = search.stationary_points(problem)
        point = (
            points[0] if start == "ordered" else min(points, key=lambda p: abs(p.kernel[-1, -2]))
        )
        kernels = draw(run, point.kernel)["kernel"].to_numpy()
        first = order_parameter(kernels, np.ones(1))[:, :5]
        means[start] = np.abs(first).mean()
        spread = 3.0 * point.kernel[-1, -1] / np.sqrt(width)
        assert means[start] == pytest.approx(abs(point.kernel[-1, -2]), abs=spread)
    assert means["ordered"] > 2 * means["disordered"]


def starting(run: Run, start: str) -> Run:
    return run.model_copy(update={"sampler": run.sampler.model_copy(update={"start": start})})


def test_start_is_read_from_the_stationary_points(tmp_path: Path) -> None:
    run = endpoint_run(2 * critical_signal(4, PRIOR, KAPPA), start="disordered")
    solved, theory = solve(task_of(run), run.architecture, run.kappa), tmp_path / "theory.nc"
    write_dataset(solved, theory, "theory", run)
    with pytest.raises(FileError, match="--theory: missing"):
        read_starts(run, None)
    (disordered,) = read_starts(run, theory)
    (lowest,) = read_starts(starting(run, "lowest"), theory)
    assert disordered is not None
    assert lowest is not None
    assert disordered[-1, -2] == pytest.approx(0.0, abs=1e-8)
    np.testing.assert_allclose(lowest, solved["kernel"][0, 0, 0], atol=1e-12)
    assert read_starts(starting(run, "prior"), theory) == [None]


def test_threads_do_not_change_what_is_drawn() -> None:
    """Chains of more deviates than are worth a thread, inside and outside of inference mode."""
    drawn = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for inference in (True, False):
                with torch.inference_mode(inference):
                    memory = torch.empty(3, random.LEAST_PER_THREAD)
                    random.fill_normal(memory, random.new_streams(4, 3, torch.device("cpu")))
                    drawn.append(memory.numpy().copy())
        finally:
            torch.set_num_threads(1)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])
