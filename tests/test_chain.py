"""Chains: reproducibility, killing and resuming, checks, and agreement with the theory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import KAPPA, PRIOR, ROOT, assert_z, endpoint_run, exact_run

from weightsharing.commands.sample import samples_dataset, start_kernels
from weightsharing.commands.theory import points_dataset
from weightsharing.errors import DeviceError, DivergenceError, FileError, StepSizeError
from weightsharing.files import task_dataset, write_dataset, write_record
from weightsharing.measures.branches import branch_signs
from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.architecture import Kind
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.model.symmetry import order_parameter, reflect_kernel
from weightsharing.model.tasks import Task, make_task
from weightsharing.sampling import chain, dynamics, langevin, posterior, weights
from weightsharing.sampling.chain import Member, Samples, sample
from weightsharing.sampling.run import Device, Run
from weightsharing.sampling.settings import LangevinSettings
from weightsharing.theory import finite_width, linear, search
from weightsharing.theory.transition import critical_signal


def task_of(run: Run) -> Task:
    return make_task(run.task, run.architecture.steps)


def assert_equal(first: Samples, second: Samples) -> None:
    for name in ("kernel", "output", "loss", "eigenvalues"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), strict=True)


def test_same_seed_same_draws_and_chains_do_not_depend_on_their_number() -> None:
    run = endpoint_run(3.0, burn_in=0.5, duration=1.0, draws=10, chains=3)
    samples = sample(run, task_of(run))
    assert_equal(samples, sample(run, task_of(run)))
    fewer = run.model_copy(update={"sampler": run.sampler.model_copy(update={"chains": 2})})
    np.testing.assert_array_equal(sample(fewer, task_of(fewer)).kernel, samples.kernel[:2])
    other = sample(run.model_copy(update={"seed": 12}), task_of(run))
    assert not np.any(other.loss == samples.loss)
    assert not np.any(samples.loss[0] == samples.loss[1])


def test_random_streams_of_chains_are_independent() -> None:
    streams = dynamics.new_streams(11, 2, torch.device("cpu"))
    first, second = dynamics.normal(torch.empty(0), (4096,), streams)
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
    task, checkpoint = task_of(run), tmp_path / "c.safetensors"
    whole = sample(run, task)

    class Stopped(Exception):
        pass

    save = chain.save_checkpoint
    for stop in (100, 520):

        def save_and_stop(state: chain.ChainState, path: Path, key: str, stop: int = stop) -> None:
            if state.step == stop:
                save(state, path, key)
                raise Stopped

        monkeypatch.setattr(chain, "save_checkpoint", save_and_stop)
        with pytest.raises(Stopped):
            sample(run, task, checkpoint, checkpoint_seconds=0.0)
    monkeypatch.setattr(chain, "save_checkpoint", save)
    monkeypatch.setattr(chain, "PROGRESS_SECONDS", 0.0)
    reported: list[int] = []
    resumed = sample(run, task, checkpoint, progress=lambda done, total: reported.append(done))
    assert reported[0] == 521
    assert_equal(resumed, whole)


def test_chain_killed_by_sigkill_and_rerun_is_bitwise_equal(tmp_path: Path) -> None:
    """The command itself, killed at its first checkpoint and typed again."""
    run = endpoint_run(3.0, width=64, burn_in=0.0, duration=8.0, draws=400)
    write_record(run, tmp_path / "run.yaml")
    write_dataset(task_dataset(task_of(run)), tmp_path / "task.nc", "task", run)
    checkpoint = tmp_path / "c.safetensors"

    def command(output: str) -> list[str]:
        return [
            sys.executable, "-m", "weightsharing", "sample", str(tmp_path / "run.yaml"),
            str(tmp_path / "task.nc"), str(tmp_path / output),
            "--checkpoint", str(checkpoint), "--checkpoint-seconds", "0.2",
        ]  # fmt: skip

    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(command("killed.nc"), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
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


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_eigenvalues_are_those_of_the_weights(kind: Kind) -> None:
    """The last spectrum belongs to the last draw, whose weights are kept when asked for."""
    run = endpoint_run(
        3.0, kind=kind, burn_in=0.0, duration=0.4, draws=8, spectra=4, keep_weights=True,
        precision="float64",
    )  # fmt: skip
    samples = sample(run, task_of(run))
    assert samples.weights is not None
    recurrent, input_, readout = samples.weights
    found = samples.eigenvalues[0, -1, ..., 0] + 1j * samples.eigenvalues[0, -1, ..., 1]
    for matrix, values in zip(recurrent, found, strict=True):
        expected = np.linalg.eigvals(matrix)
        np.testing.assert_allclose(np.sort_complex(values), np.sort_complex(expected), atol=1e-9)
    activities = input_ @ task_of(run).inputs[0, 0]
    for time_ in range(1, 4):
        activities = recurrent[0 if kind == "rnn" else time_ - 1] @ activities
    assert readout @ activities / 32 == pytest.approx(samples.output[0, -1, -1, 0])
    dataset = samples_dataset(samples, run.sampler)
    np.testing.assert_array_equal(dataset["spectrum_draw"], [1, 3, 5, 7])
    assert dataset["recurrent"].shape == (run.architecture.weight_matrices, 32, 32)


def test_labels_grow_over_the_ramp() -> None:
    run = endpoint_run(4.0, burn_in=0.5, ramp=0.3)
    assert isinstance(run.sampler, LangevinSettings)
    cpu = torch.device("cpu")
    target = posterior.build([task_of(run)], run.architecture, KAPPA, cpu, torch.float64)
    sizes = [float(weights.ramped(target, n, run.sampler).targets[0, -1, 0]) for n in range(400)]
    np.testing.assert_allclose(sizes[:300], 2.0 * np.arange(1, 301) / 300)
    assert set(sizes[300:]) == {2.0}


def test_checkpoint_of_another_run_or_damaged_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = endpoint_run(3.0, burn_in=0.5, duration=0.5, draws=5)
    checkpoint = tmp_path / "c.safetensors"
    cpu = torch.device("cpu")
    method = chain.find_dynamics([Member(run, task_of(run))], cpu)
    state = chain._begin([Member(run, task_of(run))], method, cpu)
    chain.save_checkpoint(state, checkpoint, "another key")
    whole = sample(run, task_of(run))
    assert_equal(sample(run, task_of(run), checkpoint), whole)
    assert "belongs to other parameters" in caplog.text
    checkpoint.write_bytes(b"\x00" * 100)
    assert_equal(sample(run, task_of(run), checkpoint), whole)
    assert "damaged" in caplog.text


def test_fingerprint_covers_parameters_task_and_start() -> None:
    run = endpoint_run(3.0)
    task, cpu = task_of(run), torch.device("cpu")
    keys = {
        chain.fingerprint([Member(run, task)], cpu),
        chain.fingerprint([Member(run, task)] * 2, cpu),
        chain.fingerprint([Member(run.model_copy(update={"kappa": 0.2}), task)], cpu),
        chain.fingerprint([Member(run, Task(task.inputs * 2, task.targets, task.supervised))], cpu),
        chain.fingerprint([Member(run, task, np.eye(4))], cpu),
        chain.fingerprint([Member(run, task)], torch.device("cuda")),
    }
    assert len(keys) == 6


def test_step_size_too_large_is_refused_with_advice() -> None:
    run = endpoint_run(8.0, step_size=0.02, burn_in=2.0)
    with pytest.raises(StepSizeError, match=r"step_size: 0\.02 .* use at most 0"):
        sample(run, task_of(run))


def test_diverged_chain_is_stopped_with_the_step_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = endpoint_run(3.0)
    step = langevin.step

    def broken(weights: Weights, *rest: object) -> None:
        step(weights, *rest)  # type: ignore[arg-type]
        weights.readout[1, 0] = float("nan")

    monkeypatch.setattr(langevin, "step", broken)
    with pytest.raises(DivergenceError, match=r"chain 1 .* step 1: .* lower step_size"):
        sample(run, task_of(run))


def test_cuda_without_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run = endpoint_run(3.0, device="cuda")
    with pytest.raises(DeviceError, match="no GPU"):
        sample(run, task_of(run))


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
        losses.append(estimate(sample(run, task_of(run)).loss))
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
    problem = linear.linear_problem(task, run.architecture, run.kappa)
    kernel = search.stationary_points(problem)[0].kernel
    np.testing.assert_allclose(kernel, np.eye(4), atol=1e-9)
    expected = kernel + finite_width.kernel_correction(problem, kernel) / 64
    draws = estimate(sample(run, task).kernel[:, :, 0, 0])
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
    for step_size, duration in ((5e-3, 200.0), (2.5e-3, 100.0)):
        run = endpoint_run(
            ratio * critical_signal(4, PRIOR, kappa), kappa=kappa, width=width,
            step_size=step_size, burn_in=10.0, duration=duration, draws=800, chains=4,
        )  # fmt: skip
        task = task_of(run)
        samples = sample(run, task)
        signs = branch_signs(samples.kernel, task, run.architecture)
        # Below the transition there is one branch, m = 0: nothing to align.
        assert bool((signs == 1.0).all()) != ordered
        kernels = reflect_kernel(samples.kernel, signs)
        m = np.abs(order_parameter(kernels, np.ones(1)))
        found.append((estimate(kernels[:, :, 0, 0]), estimate(m)))
    problem = linear.linear_problem(task, run.architecture, run.kappa)
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
        problem = linear.linear_problem(task, run.architecture, run.kappa)
        points = search.stationary_points(problem)
        point = (
            points[0] if start == "ordered" else min(points, key=lambda p: abs(p.kernel[-1, -2]))
        )
        kernels = sample(run, task, start_kernel=point.kernel).kernel
        first = order_parameter(kernels, np.ones(1))[:, :5]
        means[start] = np.abs(first).mean()
        spread = 3.0 * point.kernel[-1, -1] / np.sqrt(width)
        assert means[start] == pytest.approx(abs(point.kernel[-1, -2]), abs=spread)
    assert means["ordered"] > 2 * means["disordered"]


def starting(run: Run, start: str) -> Run:
    return run.model_copy(update={"sampler": run.sampler.model_copy(update={"start": start})})


def test_start_is_read_from_the_stationary_points(tmp_path: Path) -> None:
    run = endpoint_run(2 * critical_signal(4, PRIOR, KAPPA), start="disordered")
    problem = linear.linear_problem(task_of(run), run.architecture, run.kappa)
    points = search.stationary_points(problem)
    write_dataset(
        points_dataset(problem, points, task_of(run), "rnn"), tmp_path / "theory.nc", "theory", run
    )
    theory = tmp_path / "theory.nc"
    with pytest.raises(FileError, match="--theory: missing"):
        start_kernels(run, None)
    (disordered,) = start_kernels(run, theory)
    (lowest,) = start_kernels(starting(run, "lowest"), theory)
    assert disordered is not None
    assert lowest is not None
    assert disordered[-1, -2] == pytest.approx(0.0, abs=1e-8)
    np.testing.assert_allclose(lowest, points[0].kernel, atol=1e-12)
    assert start_kernels(starting(run, "prior"), theory) == [None]


def test_threads_do_not_change_what_is_drawn() -> None:
    """Chains of more deviates than are worth a thread, inside and outside of inference mode."""
    drawn = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            for inference in (True, False):
                with torch.inference_mode(inference):
                    memory = torch.empty(3, dynamics.WORTH_A_THREAD)
                    dynamics.fill_normal(memory, dynamics.new_streams(4, 3, torch.device("cpu")))
                    drawn.append(memory.numpy().copy())
        finally:
            torch.set_num_threads(1)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])
