"""All backends make the steps that the samplers' folders define."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import xarray as xr
from conftest import draw, endpoint_run, kinetic_run
from weight_steps import CPU, DEVICE, compiled_deviates, philox_deviates, problem, states

from weightsharing.model.activations import ACTIVATIONS, ActivationName
from weightsharing.model.architecture import Kind
from weightsharing.model.network import Weights
from weightsharing.sampling import backends, random
from weightsharing.sampling.backends import compiled, fused, reference
from weightsharing.sampling.backends.compiled import step
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Dynamics
from weightsharing.sampling.random import new_streams, normal
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import step as sgld

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="fused steps need Triton")
BACKENDS: dict[str, Callable[..., Advance]] = {
    "reference": reference.advance,
    "compiled": compiled.advance,
    "fused": partial(fused.advance, use_graphs=False),
    "fused without Triton and graphs": fused.advance,
}
ON_CPU = ["reference", "compiled"]
# Each of them, where it can run.
EACH = [pytest.param(name, marks=[needs_triton] * (name == "fused")) for name in BACKENDS]
# From a step whose number needs both halves of the counter's clock.
FIRST, STEPS, CHAINS, STEP_SIZE = 2**33, 4, 2, 0.02
DYNAMICS = {
    "sgld": Dynamics(sgld.move, STEP_SIZE),
    "kinetic": Dynamics(kinetic.move, STEP_SIZE, 3 * 0.7 * STEP_SIZE, 3, has_velocities=True),
}
RUNS: dict[str, Callable[..., Run]] = {"sgld": endpoint_run, "kinetic": kinetic_run}

DOUBLE, SINGLE = torch.float64, torch.float32
ACTIVATION_CASES: list[tuple[Kind, ActivationName, int, int, int, torch.dtype]] = [
    (kind, activation, patterns, 13, 4, DOUBLE)
    for kind in ("rnn", "dnn") for activation in ACTIVATIONS for patterns in (1, 3)
]  # fmt: skip
# Two time steps have one matrix in both networks. Widths: fewer rows than a counter of the fused steps
# serves, a multiple of a tile, none, and several tiles.
CASES: list[tuple[Kind, ActivationName, int, int, int, torch.dtype]] = [
    *ACTIVATION_CASES, ("rnn", "linear", 1, 13, 2, DOUBLE), ("dnn", "linear", 1, 13, 2, DOUBLE),
    ("rnn", "linear", 1, 71, 4, SINGLE), ("rnn", "erf", 4, 13, 4, SINGLE),
    ("rnn", "erf", 1, 64, 4, SINGLE), ("dnn", "linear", 4, 3, 4, SINGLE),
    ("dnn", "erf", 1, 13, 4, SINGLE),
]  # fmt: skip


def no_gpu(*arguments: object) -> None:
    raise RuntimeError("no stream\nat all")


def forbid_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Triton and no streams."""
    module = "weightsharing.sampling.backends.fused.triton_steps"
    for name in (module, "triton"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(module, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr(torch.cuda, "Stream", no_gpu)


@pytest.mark.parametrize(
    ("kind", "activation", "patterns", "width", "steps", "dtype"), CASES, ids=str
)
@pytest.mark.parametrize(
    ("method", "integrated"), [("sgld", False), ("kinetic", False), ("kinetic", True)]
)
@pytest.mark.parametrize("name", EACH)
def test_steps_are_those_of_pytorch(
    name: str, method: str, integrated: bool, kind: Kind, activation: ActivationName, patterns: int,
    width: int, steps: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Gradient, decay, drift, friction and noise, through a ramp and between two refreshments.

    In float64 the fused backend is PyTorch's, without a warning. Without Triton and graphs it is
    PyTorch's with a warning of each.
    """
    device = CPU if name in ON_CPU else DEVICE
    target = problem(kind, activation, patterns, steps, dtype, device, integrated)
    dynamics = DYNAMICS[method]
    has_triton = name == "fused" and dtype is torch.float32
    if name == "fused without Triton and graphs":
        forbid_gpu(monkeypatch)
    memory, blocks = states(target, width, CHAINS, moving=dynamics.has_velocities)
    expected = memory.clone()
    size = memory.shape[1] // (1 + dynamics.has_velocities)
    streams, same_streams = new_streams(3, CHAINS, device), new_streams(3, CHAINS, device)
    key = fused.steps.keys(streams, device)

    def target_at(number: int) -> Any:
        return replace(target, targets=target.targets * (number - FIRST + 1) / STEPS)

    advance = BACKENDS[name](target, dynamics, blocks, target_at)
    for number in range(FIRST, FIRST + STEPS):
        advance(memory, streams, number)
        weights, velocities = blocks(expected)
        noise = None
        if (number + 1) % dynamics.refresh == 0:
            if has_triton:
                noise = philox_deviates(weights, key, number)
            elif name == "compiled":
                noise = compiled_deviates(weights, same_streams)
            else:
                noise = blocks(normal(memory, (size,), same_streams))[0]
        dynamics.move(weights, velocities, noise, target_at(number), STEP_SIZE, dynamics.damping)
    assert memory.dtype == dtype
    tolerance = 1e-13 if dtype is torch.float64 else 3e-6
    for moved, wanted in zip(blocks(memory), blocks(expected), strict=True):
        for block, value in zip(moved or (), wanted or (), strict=True):
            atol = tolerance * float(value.abs().max())
            torch.testing.assert_close(block, value, rtol=tolerance, atol=atol)
    warnings = [record.message for record in caplog.records]
    if name != "fused without Triton and graphs":
        assert not warnings
        return
    graphs = 1 if method == "sgld" else 2
    if dtype is torch.float32:
        assert warnings.pop(0).startswith(
            "fused steps are not used: ModuleNotFoundError: import of triton"
        )
    assert len(warnings) == graphs
    assert all(
        text.startswith("no CUDA graph (RuntimeError: no stream); steps are launched")
        for text in warnings
    )


@pytest.mark.parametrize("name", ON_CPU)
def test_threads_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, ends = problem("rnn", device=CPU), []
    for threads in (1, 2):
        monkeypatch.setattr(random, "LEAST_PER_THREAD", 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        memory, blocks = states(target, 13, 3, moving=True)
        advance = BACKENDS[name](target, DYNAMICS["kinetic"], blocks, lambda number: target)
        for number in range(3):
            advance(memory, new_streams(1, 3, CPU), number)
        ends.append(memory)
    assert torch.equal(*ends)


@pytest.mark.parametrize("name", [*ON_CPU, "fused without Triton and graphs"])
def test_what_is_not_finite_stays_so_in_its_chain(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of a chain looks for it; instructions that assume finite numbers could hide it."""
    forbid_gpu(monkeypatch)
    target = problem("rnn", device=CPU)
    memory, blocks = states(target, 13, 3, moving=True)
    memory[1, 5] = torch.nan
    advance = BACKENDS[name](target, DYNAMICS["kinetic"], blocks, lambda number: target)
    advance(memory, new_streams(1, 3, CPU), 0)
    assert torch.isfinite(memory).all(dim=1).tolist() == [True, False, True]


@pytest.mark.parametrize(("device", "method", "chosen"), [
    ("cpu", "sgld", compiled), ("cpu", "kinetic", compiled), ("cuda", "sgld", fused),
    ("cuda", "kinetic", fused),
])  # fmt: skip
def test_device_and_dynamics_choose_the_backend(
    device: str, method: str, chosen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chosen, "advance", lambda *arguments: arguments)
    inputs = SimpleNamespace(device=torch.device(device))
    target: Any = SimpleNamespace(inputs=inputs, architecture=problem("rnn").architecture)
    arguments: Any = (target, DYNAMICS[method], None, None)
    assert backends.advance(*arguments) == arguments


def test_dynamics_of_a_new_sampler_are_stepped_by_its_own_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On both devices, without a branch or a warning in the backends."""

    def decay(
        weights: Weights, velocities: Weights | None, noise: Weights | None, posterior: Posterior,
        step_size: float, damping: float,
    ) -> None:  # fmt: skip
        for block in weights:
            block.mul_(1.0 - step_size)

    target, dynamics = problem("rnn"), Dynamics(decay, STEP_SIZE)
    memory, blocks = states(target, 5)
    with pytest.raises(ValueError, match="no compiled step for these dynamics"):
        compiled.advance(target, dynamics, blocks, lambda number: target)
    for advance in (backends.advance, partial(fused.advance, use_graphs=False)):
        moved = memory.clone()
        advance(target, dynamics, blocks, lambda number: target)(
            moved, new_streams(1, 2, DEVICE), 0
        )
        torch.testing.assert_close(moved, memory * (1.0 - STEP_SIZE), rtol=0.0, atol=0.0)
    assert not caplog.records


def test_pytorch_steps_where_the_compiled_step_does_not_know_the_activation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = kinetic_run(
        1.0, width=12, step_size=0.02, friction=20.0, burn_in=0.2, duration=0.32, draws=4, refresh=2
    )
    architecture = run.architecture.model_copy(update={"activation": "erf"})
    run = run.model_copy(update={"architecture": architecture})
    with monkeypatch.context() as patch:
        patch.setattr(backends, "compiled", reference)
        patch.setattr(reference, "supports", lambda *rest: True, raising=False)
        expected = draw(run)
    monkeypatch.delitem(step.CODES, "erf")
    monkeypatch.setattr(step, "step", None)
    xr.testing.assert_equal(draw(run), expected)


@pytest.mark.parametrize("method", RUNS)
def test_all_works_without_the_fused_backend(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing imports it, even as it is deleted."""
    monkeypatch.setattr("weightsharing.sampling.kinetic.LEAST_FORGOTTEN", 0.0)
    for module in [name for name in sys.modules if name.startswith(fused.__name__)]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr(backends, "fused")
    run = RUNS[method](1.0, width=6, step_size=0.01, burn_in=0.0, duration=0.04, draws=4)
    assert not isinstance(run.sampler, ExactSettings)
    assert draw(run).sizes["draw"] == 4
