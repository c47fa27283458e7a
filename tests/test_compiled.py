"""The compiled step of the underdamped dynamics against the one in PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
import torch
from conftest import draw, kinetic_run
from torch import Tensor

from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.network import Weights
from weightsharing.model.task import Task
from weightsharing.sampling import initial, posterior, random
from weightsharing.sampling.backends import compiled
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior

WIDTH, CHAINS, FEATURES = 13, 3, 2
CPU = torch.device("cpu")


def problem(kind: Kind, activation: ActivationName, patterns: int, steps: int = 4) -> Posterior:
    """Inputs and targets at all times, some of them supervised, and unequal prior variances."""
    generator = np.random.default_rng(5)
    task = Task(
        inputs=generator.standard_normal((patterns, steps, FEATURES)),
        targets=generator.standard_normal((patterns, steps)),
        supervised=generator.random((patterns, steps)) < 0.6,
    )
    architecture = Architecture(
        kind=kind, activation=activation, steps=steps, prior=Prior(w=0.7, u=1.3, v=0.8)
    )
    return posterior.build([task], architecture, 0.2, CPU, torch.float64)


def settings(**changes: object) -> KineticSettings:
    sampler = kinetic_run(1.0, width=WIDTH, friction=0.7, refresh=3).sampler
    assert isinstance(sampler, KineticSettings)
    return sampler.model_copy(update=changes)


def states(target: Posterior, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights and velocities of the prior's size, (chain, 2 x weights), and deviates (chain, weights)."""
    size = initial.weight_count(target.architecture, width, FEATURES)
    streams = random.new_streams(seed, CHAINS, CPU)
    memory = random.normal(target.inputs, (2 * size,), streams) / width**0.5
    return memory, random.normal(target.inputs, (size,), streams)


def pytorch_step(
    memory: Tensor, deviates: Tensor | None, target: Posterior, sampler: KineticSettings
) -> None:
    size = memory.shape[1] // 2

    def blocks(values: Tensor) -> Weights:
        return initial.weights_in(values, target.architecture, sampler.width, FEATURES)

    kinetic.step(
        blocks(memory[:, :size]),
        blocks(memory[:, size:]),
        None if deviates is None else blocks(deviates),
        target,
        sampler.step_size,
        sampler.damping,
    )


@pytest.mark.parametrize("activation", ["linear", "erf", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
@pytest.mark.parametrize("patterns", [1, 3])
def test_compiled_step_is_that_of_pytorch(
    kind: Kind, activation: ActivationName, patterns: int
) -> None:
    target, sampler = problem(kind, activation, patterns), settings()
    ours, deviates = states(target, WIDTH, 1)
    theirs = ours.clone()
    move = compiled.stepper(target, sampler)
    for step in range(6):
        noise = deviates if step % 3 == 2 else None
        # Targets change from step to step, as they do over a ramp.
        now = replace(target, targets=target.targets * (step + 1) / 6)
        move(ours, noise, now)
        pytorch_step(theirs, noise, now, sampler)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-13)


def test_pytorch_steps_where_the_compiled_step_does_not_know_the_activation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = kinetic_run(1.0, width=12, step_size=0.02, burn_in=0.2, duration=0.32, draws=4, refresh=2)
    architecture = run.architecture.model_copy(update={"activation": "erf"})
    run = run.model_copy(update={"architecture": architecture})
    compiled_draws = draw(run)
    monkeypatch.delitem(compiled.CODES, "erf")
    monkeypatch.setattr(compiled, "step", None)
    for name, values in draw(run).data_vars.items():
        np.testing.assert_allclose(values, compiled_draws[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_two_time_steps_have_one_matrix_in_both_networks(kind: Kind) -> None:
    target, sampler = problem(kind, "linear", 1, steps=2), settings()
    ours, deviates = states(target, WIDTH, 2)
    theirs = ours.clone()
    compiled.stepper(target, sampler)(ours, deviates, target)
    pytorch_step(theirs, deviates, target, sampler)
    torch.testing.assert_close(ours, theirs, rtol=0.0, atol=1e-13)


@pytest.mark.parametrize("rank", range(1, 10))
def test_gradient_of_any_rank(rank: int) -> None:
    """The sum of outer products takes four at a time and the rest one by one."""
    generator = np.random.default_rng(rank)
    block, velocity, deviates = generator.standard_normal((3, 5, 7))
    left, right = generator.standard_normal((rank, 5)), generator.standard_normal((rank, 7))
    moved, moving = block.copy(), velocity.copy()
    times = np.array([-0.1, 0.1, 0.05, 0.9])
    compiled.move(moved, moving, left, right, deviates, False, 0.3, 0.2, times)
    expected = velocity - 0.1 * (block + 0.3 * left.T @ right)
    np.testing.assert_allclose(moving, expected, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(moved, block + 0.1 * expected, rtol=0.0, atol=1e-14)


def test_single_precision_stays_single() -> None:
    """Else a step would cost twice as much: equal to PyTorch's to rounding in float32, not in float64."""
    exact, sampler = problem("rnn", "erf", 2), settings()
    single = replace(
        exact,
        inputs=exact.inputs.float(),
        targets=exact.targets.float(),
        supervised=exact.supervised.float(),
    )
    ours, deviates = states(exact, WIDTH, 3)
    rounded = ours.float()
    theirs = ours.float()
    for _ in range(10):
        compiled.stepper(single, sampler)(rounded, deviates.float(), single)
        pytorch_step(theirs, deviates.float(), single, sampler)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, theirs, rtol=0.0, atol=2e-5)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target, sampler = problem("rnn", "linear", 1), settings()
    alone, deviates = states(target, WIDTH, 4)
    shared = alone.clone()
    compiled.stepper(target, sampler)(alone, deviates, target)
    monkeypatch.setattr(random, "LEAST_PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    compiled.stepper(target, sampler)(shared, deviates, target)
    assert torch.equal(alone, shared)


def test_what_is_not_finite_stays_so() -> None:
    """The check of a chain looks for it; instructions that assume finite numbers could hide it."""
    target, sampler = problem("rnn", "linear", 1), settings()
    memory, _ = states(target, WIDTH, 6)
    memory[1, 5] = torch.nan
    compiled.stepper(target, sampler)(memory, None, target)
    assert torch.isfinite(memory).all(dim=1).tolist() == [True, False, True]


def test_nowhere_to_keep_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source tree and a home that cannot be written to: compiled anew in each process."""

    def nowhere(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    def function() -> None:
        """Nothing."""

    monkeypatch.setattr(numba, "njit", nowhere)
    compiled_function, options = compiled._compiled(function)
    assert compiled_function is function
    assert options["nogil"]
