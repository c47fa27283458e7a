"""The compiled step of the underdamped dynamics against the step in PyTorch."""

from __future__ import annotations

import itertools
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
    """Inputs and targets at all times, some of them supervised, and different prior variances."""
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
    """Weights and velocities (chain, 2 x weights) of the prior's size; deviates (chain, weights)."""
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


# Networks of two time steps have one matrix in both kinds.
@pytest.mark.parametrize(
    ("activation", "patterns", "steps"),
    [
        *itertools.product(["linear", "erf", "tanh", "relu"], [1, 3], [4]),
        ("linear", 1, 2),
    ],
)
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_compiled_step_is_that_of_pytorch(
    kind: Kind, activation: ActivationName, patterns: int, steps: int
) -> None:
    target, sampler = problem(kind, activation, patterns, steps), settings()
    memory, deviates = states(target, WIDTH, 1)
    expected = memory.clone()
    move = compiled.stepper(target, sampler)
    for step in range(6):
        noise = deviates if step % 3 == 2 else None
        # Targets change from step to step, as they do over a ramp.
        now = replace(target, targets=target.targets * (step + 1) / 6)
        move(memory, noise, now)
        pytorch_step(expected, noise, now, sampler)
    torch.testing.assert_close(memory, expected, rtol=0.0, atol=1e-13)


def test_pytorch_steps_if_the_compiled_step_lacks_the_activation(
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


@pytest.mark.parametrize("rank", range(1, 10))
def test_gradient_of_any_rank(rank: int) -> None:
    """The sum of outer products adds four in one pass, and the others one by one."""
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
    """float64 would cost twice as much: states equal PyTorch's up to rounding in float32."""
    double, sampler = problem("rnn", "erf", 2), settings()
    numbers = {name: getattr(double, name).float() for name in ("inputs", "targets", "supervised")}
    single = replace(double, **numbers)
    memory, deviates = (values.float() for values in states(double, WIDTH, 3))
    expected = memory.clone()
    for _ in range(10):
        compiled.stepper(single, sampler)(memory, deviates, single)
        pytorch_step(expected, deviates, single, sampler)
    assert memory.dtype == torch.float32
    torch.testing.assert_close(memory, expected, rtol=0.0, atol=2e-5)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    target, sampler = problem("rnn", "linear", 1), settings()
    serial, deviates = states(target, WIDTH, 4)
    threaded = serial.clone()
    compiled.stepper(target, sampler)(serial, deviates, target)
    monkeypatch.setattr(random, "LEAST_PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    compiled.stepper(target, sampler)(threaded, deviates, target)
    assert torch.equal(serial, threaded)


def test_numbers_that_are_not_finite_stay_so() -> None:
    """Checks of chains need them; instructions that assume finite numbers could hide them."""
    target, sampler = problem("rnn", "linear", 1), settings()
    memory, _ = states(target, WIDTH, 6)
    memory[1, 5] = torch.nan
    compiled.stepper(target, sampler)(memory, None, target)
    assert torch.isfinite(memory).all(dim=1).tolist() == [True, False, True]


def test_compiled_code_without_a_writable_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither source tree nor home is writable: each process compiles again."""

    def njit(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    def function() -> None:
        """Nothing."""

    monkeypatch.setattr(numba, "njit", njit)
    compiled_function, options = compiled._compiled(function)
    assert compiled_function is function
    assert options["nogil"]
