"""Fused steps on a GPU: their random numbers, their check of themselves, that they compile.

``test_backends`` holds the steps to PyTorch's; ``weight_steps`` says where they run.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FALSE_ALARM, ROOT, assert_z, draw, endpoint_run, kinetic_run
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from weight_steps import CPU, DEVICE, ON_GPU, counters, keys, philox, problem, states

from weightsharing.errors import InterruptedRunError
from weightsharing.model.architecture import Kind
from weightsharing.model.network import Weights
from weightsharing.sampling import backends
from weightsharing.sampling.backends import fused
from weightsharing.sampling.backends.fused import self_check
from weightsharing.sampling.backends.fused import steps as fused_steps
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Dynamics
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import step as sgld

pytest.importorskip("triton", reason="fused steps need Triton")
from weightsharing.sampling.backends.fused import triton_steps


def drawn(target: Posterior, width: int, key: Tensor, step: int, chains: int = 2) -> Weights:
    """The deviates alone: a step of SGLD of size 1 without gradient leaves nothing else."""
    memory, blocks = states(target, width, chains)
    weights, _ = blocks(memory)
    clock = torch.full((), step, device=DEVICE)
    of_w, of_u, of_v = (
        part._replace(left=part.left[:, :, :0])
        for part in fused_steps.loss_factors(weights, target)
    )
    silent = (of_w, of_u, of_v)
    fused_steps.move(weights, None, silent, 1.0, None, key, clock)
    return Weights(*(b / (2 * p.variance) ** 0.5 for b, p in zip(weights, silent, strict=True)))


def test_reference_philox_gives_the_published_answers() -> None:
    """The known answers that come with Random123."""
    ones = 0xFFFFFFFF
    for counter, key, answer in (
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ones] * 4, [ones] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ):  # fmt: skip
        found = philox(np.array(key, dtype=np.uint32), np.array(counter, dtype=np.uint32))
        assert found.tolist() == answer


def test_no_key_and_counter_serve_twice() -> None:
    """On integers; ``test_backends`` shows that the steps draw from these."""
    target = problem("dnn")
    memory, blocks = states(target, 13, chains=3)
    used, first = [], 0
    for block in fused_steps.matrices(blocks(memory)[0]):
        for step in (0, 1, 2**32, 2**32 + 1, 2**64 - 1):
            key, counter, lane = counters(block.shape, first, keys(3), step)
            used.append(np.concatenate([key, counter, lane[..., None]], axis=-1).reshape(-1, 7))
        first += block.shape[1]
    entries = np.concatenate(used)
    assert len(np.unique(entries, axis=0)) == len(entries) == 5 * memory.numel()
    # All four deviates of a counter are used, but for those beyond the last row.
    assert len(np.unique(entries[:, :6], axis=0)) < 0.35 * len(entries)


def test_keys_are_the_streams_own_and_survive_a_checkpoint() -> None:
    streams = new_streams(5, 3, CPU)
    key = fused_steps.keys(streams, DEVICE)
    assert len(set(key.tolist())) == 3
    assert not set(key.tolist()) & {stream.initial_seed() for stream in streams}
    resumed = []
    for stream in streams:
        torch.randn(5, generator=stream)
        resumed.append(torch.Generator())
        resumed[-1].set_state(stream.get_state())
    assert torch.equal(fused_steps.keys(resumed, DEVICE), key)
    assert torch.equal(fused_steps.keys(streams[:2], DEVICE), key[:2])


def z_of_products(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Covariance of independent standard normal deviates, in standard errors."""
    return float((first * second).sum() / first.size**0.5)


def test_deviates_are_standard_normal_and_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments, Kolmogorov-Smirnov, and correlations of deviates and of their squares between all entries
    that must be independent. False alarms: FALSE_ALARM for all z-scores together, and for each KS test.
    """
    if not ON_GPU:  # a large tile takes the interpreter as long as a small one
        monkeypatch.setattr(fused_steps, "TILE_ROWS", 64)
        monkeypatch.setattr(fused_steps, "TILE_COLUMNS", 256)
    target, width, key = problem("dnn"), 160, keys(2)
    first, second = (drawn(target, width, key, step) for step in (3, 4))
    w = first.recurrent.double().cpu().numpy()
    later = second.recurrent.double().cpu().numpy()
    count, quarter = w.size, width // 4
    moments = [w.sum() / count**0.5, (w**2 - 1).sum() / (2 * count) ** 0.5]
    moments += [(w**3).sum() / (15 * count) ** 0.5, (w**4 - 3).sum() / (96 * count) ** 0.5]
    pairs = {
        "columns": (w[..., 1:], w[..., :-1]),
        "rows": (w[..., 1:, :], w[..., :-1, :]),
        "one counter, neighbours": (w[..., quarter:, :], w[..., :-quarter, :]),
        "one counter, second": (w[..., 2 * quarter :, :], w[..., : -2 * quarter, :]),
        "one counter, third": (w[..., 3 * quarter :, :], w[..., : -3 * quarter, :]),
        "chains": (w[0], w[1]),
        "matrices": (w[:, 1:], w[:, :-1]),
        "steps": (w, later),
        "transposed": (np.triu(w, 1), np.triu(w.swapaxes(-1, -2), 1)),
    }
    z = [*moments]
    for name, (a, b) in pairs.items():
        if name == "transposed":
            keep = np.triu(np.ones((width, width), dtype=bool), 1)
            a, b = a[..., keep], b[..., keep]
        z += [z_of_products(a, b), z_of_products((a**2 - 1) / 2**0.5, (b**2 - 1) / 2**0.5)]
    assert_z(np.array(z), 0.0, np.array(1.0))
    assert stats.kstest(w.ravel(), "norm").pvalue > FALSE_ALARM
    small = torch.cat([block.flatten() for block in (*first[1:], *second[1:])]).double()
    assert stats.kstest(small.cpu().numpy(), "norm").pvalue > FALSE_ALARM


def test_tails_of_box_muller_are_as_long_as_32_bits_allow() -> None:
    """P(|xi| > 4) of 2^20 deviates of the reference, which fused steps reproduce, and its extremes."""
    counter = np.zeros((2**18, 4), dtype=np.uint32)
    counter[:, 0] = np.arange(2**18)
    bits = philox(np.array([1, 2], dtype=np.uint32), counter).astype(np.float64)
    radius = np.sqrt(-2 * np.log((bits[:, ::2] + 0.5) / 2.0**32))
    deviates = np.stack([f(2 * np.pi * bits[:, 1::2] / 2.0**32) for f in (np.cos, np.sin)]) * radius
    beyond = 2 * stats.norm.sf(4.0)
    found = int((np.abs(deviates) > 4).sum())
    assert stats.binomtest(found, deviates.size, beyond).pvalue > FALSE_ALARM
    assert np.sqrt(-2 * np.log(0.5 / 2.0**32)) > 6.7


def test_deviates_do_not_depend_on_the_number_of_chains_or_on_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, key = problem("rnn"), keys(3)
    many = drawn(target, 13, key, 6, chains=3)
    few = drawn(target, 13, key[:2], 6, chains=2)
    monkeypatch.setattr(fused_steps, "TILE_ROWS", 2)
    monkeypatch.setattr(fused_steps, "TILE_COLUMNS", 4)
    small = drawn(target, 13, key, 6, chains=3)
    for all_, first, tiled in zip(many, few, small, strict=True):
        assert torch.equal(all_[:2], first)
        torch.testing.assert_close(tiled, all_, rtol=1e-6, atol=1e-6)


SHORT: dict[str, Any] = {
    "width": 6, "step_size": 0.01, "burn_in": 0.04, "ramp": 0.03, "duration": 0.04, "draws": 4,
}  # fmt: skip
RUNS = {
    "sgld": endpoint_run(0.5, steps=3, device="auto", **SHORT),
    "kinetic": kinetic_run(
        0.5, kind="dnn", steps=3, device="auto", refresh=3, friction=100.0, **SHORT
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_chain_of_fused_steps_resumes_bitwise(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole sampler, stopped during the ramp and between two refreshments, and finished."""
    monkeypatch.setattr(backends, "advance", fused.advance)
    path = tmp_path / "c.npz"
    whole = draw(run)
    assert not [r for r in caplog.records if "fused" in r.message]
    for stop in (2, 4):
        asked = [0]

        def stopping(stop: int = stop, asked: list[int] = asked) -> bool:
            asked[0] += 1
            return asked[0] == stop

        with pytest.raises(InterruptedRunError):
            draw(run, checkpoint=path, stopping=stopping)
    resumed = draw(run, checkpoint=path)
    for name in ("kernel", "output", "loss"):
        np.testing.assert_array_equal(resumed[name], whole[name])
    # And they are not PyTorch's draws.
    monkeypatch.setattr(self_check, "objection", lambda *arguments: "forbidden")
    plain = draw(run)
    assert "fused steps are not used: forbidden" in caplog.text
    assert not np.any(plain["loss"] == whole["loss"])


# Changes the arguments of a Triton step: (by place, by name).
Change = Callable[[list[Any], dict[str, Any]], None]


def replaced(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """Give the Triton step wrong arguments."""
    right = triton_steps.step

    class Wrong:
        def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
            def launch(*places: Any, **names: Any) -> None:
                changed = list(places)
                change(changed, names)
                right[grid](*changed, **names)

            return launch

    monkeypatch.setattr(triton_steps, "step", Wrong())


def scaled(name: str, factor: float) -> Change:
    def change(places: list[Any], names: dict[str, Any]) -> None:
        names[name] *= factor

    return change


def lower_rank(places: list[Any], names: dict[str, Any]) -> None:
    places[10] = max(places[10] - 1, 0)


def broken(places: list[Any], names: dict[str, Any]) -> None:
    raise RuntimeError("no such instruction\nmore")


FAULTS = {
    "sgld-decay": (scaled("kept", 1.001), "differs"),
    "sgld-gradient": (scaled("pull", 1.001), "differs"),
    "sgld-rank": (lower_rank, "differs"),
    "sgld-noise": (scaled("spread", 1.2), "variance"),
    "sgld-compiler": (broken, "RuntimeError: no such instruction"),
    "kinetic-gradient": (scaled("pull", 1.001), "differs"),
    "kinetic-drift": (scaled("step_size", 1.001), "differs"),
    "kinetic-friction": (scaled("kept", 1.001), "differs"),
    "kinetic-rank": (lower_rank, "differs"),
    "kinetic-noise": (scaled("spread", 0.8), "variance"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_self_check_finds_a_wrong_step(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    change, reason = FAULTS[fault]
    target = problem("rnn", "erf")
    memory, blocks = states(target, 40, moving=fault.startswith("kinetic"))
    before = memory.clone()
    replaced(monkeypatch, change)
    move = kinetic.move if fault.startswith("kinetic") else sgld.move
    objection = self_check.objection(memory, blocks, target, move, keys(2))
    assert objection is not None
    assert reason in objection
    assert "\n" not in objection
    assert torch.equal(memory, before)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_self_check_passes_a_right_step(kind: Kind, moving: bool) -> None:
    target = problem(kind, "erf")
    memory, blocks = states(target, 13, moving=moving)
    before = memory.clone()
    move = kinetic.move if moving else sgld.move
    assert self_check.objection(memory, blocks, target, move, keys(2)) is None
    assert torch.equal(memory, before)


def test_a_wrong_step_leaves_the_chain_to_pytorch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replaced(monkeypatch, scaled("spread", 1.5))
    target = problem("rnn")
    memory, blocks = states(target, 40)
    dynamics = Dynamics(sgld.move, 0.01)
    advance = fused.advance(target, dynamics, blocks, lambda step: target, use_graphs=False)
    moved, expected = memory.clone(), memory.clone()
    with caplog.at_level(logging.WARNING):
        advance(moved, new_streams(1, 2, DEVICE), 0)
    assert "fused steps are not used: mean or variance" in caplog.text
    size = memory.shape[1]
    noise = torch.stack(
        [torch.randn(size, generator=s, device=DEVICE) for s in new_streams(1, 2, DEVICE)]
    )
    sgld.step(blocks(expected)[0], blocks(noise)[0], target, dynamics.step_size)
    assert torch.equal(moved, expected)


COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from weightsharing.sampling.backends.fused import steps, triton_steps

kinds = dict.fromkeys(("blocks", "velocities", "left", "right"), "*fp32")
kinds |= dict.fromkeys(("keys", "clock"), "*i64")
numbers = ("pull", "spread", "step_size", "kept")
# Triton makes constants of integers that are 1: the rows of v, the columns of U with a scalar input.
for kinetic, noisy, ones in (
    (False, True, ()), (False, True, ("columns", "right_stride")),
    (True, True, ("rows", "left_stride")), (True, False, ()),
):
    names = triton_steps.step.arg_names
    fixed = {"ROWS": steps.TILE_ROWS, "COLUMNS": steps.TILE_COLUMNS, **dict.fromkeys(ones, 1)}
    fixed |= {"KINETIC": kinetic, "NOISY": noisy}
    types = {name: kinds.get(name, "fp32" if name in numbers else "i32") for name in names}
    types |= dict.fromkeys(fixed, "constexpr")
    constants = {(names.index(name),): value for name, value in fixed.items()}
    source = ASTSource(triton_steps.step, types, constants)
    built = compile(source, target=GPUTarget("cuda", 80, 32))
    assert len(built.asm["cubin"]) > 1000
    assert "tf32" not in built.asm["ptx"]
"""


@pytest.mark.skipif(ON_GPU, reason="all other tests compile them")
def test_steps_compile_for_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    """To machine code of compute capability 8.0, by the assembler that comes with Triton."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment | {"PYTHONPATH": path}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
