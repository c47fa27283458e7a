"""Fused steps against plain PyTorch, and their random numbers.

Without a GPU, the steps run in Triton's interpreter, which executes them in NumPy. A separate test
compiles them. With a GPU, the same tests run on it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FALSE_ALARM, ROOT, assert_z, draw, endpoint_run, kinetic_run
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from weightsharing.errors import InterruptedRunError
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.network import Weights
from weightsharing.model.task import Task
from weightsharing.sampling import initial
from weightsharing.sampling import posterior as posteriors
from weightsharing.sampling.backends import cpu, fused, gpu
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Blocks
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import step as sgld

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    # Triton reads it when it is imported, which happens below.
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton", reason="fused steps need Triton")
from weightsharing.sampling.backends import triton_steps  # noqa: E402

DEVICE = torch.device("cuda" if ON_GPU else "cpu")
STEPS, FEATURES = 4, 3
PRIOR = Prior(w=0.8, u=1.2, v=0.6)
Words = NDArray[np.uint32]


def posterior(kind: Kind, activation: ActivationName = "linear", patterns: int = 2) -> Posterior:
    generator = np.random.default_rng(patterns)
    supervised = np.zeros((patterns, STEPS), dtype=bool)
    supervised[:, [1, 3]] = True
    inputs, targets = (generator.normal(size=(patterns, STEPS, n)) for n in (FEATURES, 1))
    architecture = Architecture(kind=kind, steps=STEPS, activation=activation, prior=PRIOR)
    task = Task(inputs, targets[..., 0], supervised)
    return posteriors.build([task], architecture, 0.3, DEVICE, torch.float32)


def state(
    target: Posterior, width: int, chains: int = 2, moving: bool = False, seed: int = 1
) -> tuple[Tensor, Blocks]:
    """A memory of weights, with velocities if ``moving``, and the function that unpacks it."""
    architecture = target.architecture
    size = initial.weight_count(architecture, width, FEATURES)

    def blocks(memory: Tensor) -> tuple[Weights, Weights | None]:
        parts = [
            initial.weights_in(part, architecture, width, FEATURES)
            for part in memory.split(size, dim=1)
        ]
        return parts[0], parts[1] if moving else None

    stream = torch.Generator().manual_seed(seed)
    memory = torch.randn(chains, size * (1 + moving), generator=stream).to(DEVICE)
    for part in blocks(memory):
        if part is not None:
            for block, value in zip(part, initial.from_prior(architecture, part), strict=True):
                block.copy_(value)
    return memory, blocks


def clock(number: int) -> Tensor:
    return torch.full((), number, device=DEVICE)


def some_keys(chains: int, seed: int = 5) -> Tensor:
    return fused.keys(new_streams(seed, chains, torch.device("cpu")), DEVICE)


def philox(key: Words, counter: Words) -> Words:
    """Philox 4x32-10 as published: four words from key (..., 2) and counter (..., 4)."""
    a, b = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        left, right = a * c0, b * c2
        c0, c1, c2, c3 = (
            (right >> high) ^ c1 ^ k0,
            right & low,
            (left >> high) ^ c3 ^ k1,
            left & low,
        )
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def counters(
    shape: Sequence[int], first: int, key: Tensor, step: int
) -> tuple[Words, Words, Words]:
    """Key, counter and number of the deviate, 0 to 3, of each entry (chain, matrix, row, column)."""
    rows, columns = shape[2:]
    quarter = -(-rows // 4)
    chain, matrix, row, column = np.indices(tuple(shape))
    keys = key.cpu().numpy().view(np.uint64)[chain]
    words = [row % quarter * columns + column, matrix + first, step & 0xFFFFFFFF, step >> 32]
    counter = np.stack([np.broadcast_to(word, row.shape) for word in words], axis=-1)
    halves = np.stack([keys & np.uint64(0xFFFFFFFF), keys >> np.uint64(32)], axis=-1)
    return halves.astype(np.uint32), counter.astype(np.uint32), (row // quarter).astype(np.uint32)


def expected_deviates(like: Weights, key: Tensor, step: int) -> Weights:
    """The expected deviates of a step, in float64 by the library's functions."""
    expected, first = [], 0
    for block, original in zip(fused.matrices(like), like, strict=True):
        keys, counter, lane = counters(block.shape, first, key, step)
        bits = philox(keys, counter).astype(np.float64)
        pair = 2 * (lane // 2)[..., None].astype(np.int64)
        radius = np.sqrt(-2 * np.log((np.take_along_axis(bits, pair, -1)[..., 0] + 0.5) / 2.0**32))
        angle = np.take_along_axis(bits, pair + 1, -1)[..., 0] / 2.0**32
        # The quadrant's first angle is -pi/4.
        angle = 2 * np.pi * (angle - 1 / 8)
        values = radius * np.where(lane % 2 == 0, np.cos(angle), np.sin(angle))
        expected.append(torch.from_numpy(values).to(block).reshape(original.shape))
        first += block.shape[1]
    return Weights(*expected)


def drawn(target: Posterior, width: int, key: Tensor, step: int, chains: int = 2) -> Weights:
    """The deviates of a step: with size 1 and without gradient it leaves only its noise."""
    memory, blocks = state(target, width, chains)
    weights = blocks(memory)[0]
    empty = tuple(
        part._replace(left=part.left[:, :, :0]) for part in fused.loss_factors(weights, target)
    )
    fused.langevin_step(weights, empty, 1.0, key, clock(step))  # type: ignore[arg-type]
    return Weights(
        *(b / (2 * part.variance) ** 0.5 for b, part in zip(weights, empty, strict=True))
    )


def assert_same(weights: Weights, expected: Weights) -> None:
    for block, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(block, value, rtol=1e-5, atol=3e-6 * float(value.abs().max()))


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
        words = philox(np.array(key, dtype=np.uint32), np.array(counter, dtype=np.uint32))
        assert words.tolist() == answer


# Widths: fewer rows than a counter has deviates, a multiple of a tile, no multiple, several tiles.
CASES: list[tuple[Kind, ActivationName, int, int]] = [
    ("rnn", "linear", 1, 71), ("rnn", "erf", 4, 13), ("rnn", "erf", 1, 64), ("dnn", "linear", 4, 3),
    ("dnn", "erf", 1, 13),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "activation", "patterns", "width"), CASES)
def test_sgld_step_is_that_of_pytorch(
    kind: Kind, activation: ActivationName, patterns: int, width: int
) -> None:
    """Gradient, decay and noise, at a step whose number needs both words of the counter."""
    target = posterior(kind, activation, patterns)
    memory, blocks = state(target, width)
    expected = memory.clone()
    key, number, eta = some_keys(2), 2**33 + 7, 0.02
    weights = blocks(memory)[0]
    noise = expected_deviates(weights, key, number)
    fused.langevin_step(weights, fused.loss_factors(weights, target), eta, key, clock(number))
    sgld.step(blocks(expected)[0], noise, target, eta)
    assert_same(weights, blocks(expected)[0])


@pytest.mark.parametrize(("kind", "activation", "patterns", "width"), CASES)
def test_kinetic_step_is_that_of_pytorch(
    kind: Kind, activation: ActivationName, patterns: int, width: int
) -> None:
    target = posterior(kind, activation, patterns)
    memory, blocks = state(target, width, moving=True)
    key, number, h = some_keys(2), 41, 0.1
    for damping in (None, 0.3):
        weights, velocities = blocks(memory.clone())
        plain, plain_velocities = blocks(memory.clone())
        assert velocities is not None
        assert plain_velocities is not None
        noise = None if damping is None else expected_deviates(weights, key, number)
        gradient = fused.loss_factors(weights, target)
        fused.kinetic_step(weights, velocities, gradient, h, damping, key, clock(number))
        kinetic.step(plain, plain_velocities, noise, target, h, damping or 0.0)
        assert_same(weights, plain)
        assert_same(velocities, plain_velocities)


def test_no_key_and_counter_serve_twice() -> None:
    """Integers of the reference. The tests of the steps show that the fused steps use them."""
    target = posterior("dnn")
    memory, blocks = state(target, 13, chains=3)
    used, first = [], 0
    for block in fused.matrices(blocks(memory)[0]):
        for step in (0, 1, 2**32, 2**32 + 1, 2**64 - 1):
            keys, counter, lane = counters(block.shape, first, some_keys(3), step)
            used.append(np.concatenate([keys, counter, lane[..., None]], axis=-1).reshape(-1, 7))
        first += block.shape[1]
    entries = np.concatenate(used)
    assert len(np.unique(entries, axis=0)) == len(entries) == 5 * memory.numel()
    # Entries use all four deviates of a counter, except beyond the last row.
    assert len(np.unique(entries[:, :6], axis=0)) < 0.35 * len(entries)


def test_keys_are_the_streams_own_and_survive_a_checkpoint() -> None:
    streams = new_streams(5, 3, torch.device("cpu"))
    keys = fused.keys(streams, DEVICE)
    assert len(set(keys.tolist())) == 3
    assert not set(keys.tolist()) & {stream.initial_seed() for stream in streams}
    resumed = []
    for stream in streams:
        torch.randn(5, generator=stream)
        resumed.append(torch.Generator())
        resumed[-1].set_state(stream.get_state())
    assert torch.equal(fused.keys(resumed, DEVICE), keys)
    assert torch.equal(fused.keys(streams[:2], DEVICE), keys[:2])


def z_of_products(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Covariance of independent standard normal deviates, in standard errors."""
    return float((first * second).sum() / first.size**0.5)


def test_deviates_are_standard_normal_and_independent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments, Kolmogorov-Smirnov, and correlations of independent deviates and of their squares.

    The probability of a false alarm is FALSE_ALARM for all z-scores together, and for each KS test.
    """
    if not ON_GPU:  # the interpreter is as fast for a large tile as for a small one
        monkeypatch.setattr(fused, "TILE_ROWS", 64)
        monkeypatch.setattr(fused, "TILE_COLUMNS", 256)
    target, width, key = posterior("dnn"), 160, some_keys(2)
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
    """P(|xi| > 4) for 2^20 deviates of the reference, and its largest deviate."""
    counter = np.zeros((2**18, 4), dtype=np.uint32)
    counter[:, 0] = np.arange(2**18)
    bits = philox(np.array([1, 2], dtype=np.uint32), counter).astype(np.float64)
    radius = np.sqrt(-2 * np.log((bits[:, ::2] + 0.5) / 2.0**32))
    deviates = np.stack([f(2 * np.pi * bits[:, 1::2] / 2.0**32) for f in (np.cos, np.sin)]) * radius
    beyond = 2 * stats.norm.sf(4.0)
    extreme = int((np.abs(deviates) > 4).sum())
    assert stats.binomtest(extreme, deviates.size, beyond).pvalue > FALSE_ALARM
    assert np.sqrt(-2 * np.log(0.5 / 2.0**32)) > 6.7


def test_deviates_do_not_depend_on_the_number_of_chains_or_on_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, key = posterior("rnn"), some_keys(3)
    many = drawn(target, 13, key, 6, chains=3)
    few = drawn(target, 13, key[:2], 6, chains=2)
    monkeypatch.setattr(fused, "TILE_ROWS", 2)
    monkeypatch.setattr(fused, "TILE_COLUMNS", 4)
    small = drawn(target, 13, key, 6, chains=3)
    for all_, first, tiled in zip(many, few, small, strict=True):
        assert torch.equal(all_[:2], first)
        torch.testing.assert_close(tiled, all_, rtol=1e-6, atol=1e-6)


SHORT: dict[str, Any] = {
    "width": 6, "step_size": 0.01, "burn_in": 0.04, "ramp": 0.03, "duration": 0.04, "draws": 4,
}  # fmt: skip
RUNS = {
    "sgld": endpoint_run(0.5, steps=3, device="auto", **SHORT),
    "kinetic": kinetic_run(0.5, kind="dnn", steps=3, device="auto", refresh=3, **SHORT),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))
def test_chain_of_fused_steps_resumes_bitwise(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The whole sampler, interrupted during the ramp and between two refreshments."""
    monkeypatch.setattr(cpu, "advance", gpu.advance)
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
    # The draws differ from PyTorch's.
    monkeypatch.setattr(fused, "objection", lambda *arguments: "forbidden")
    plain = draw(run)
    assert "fused steps are not used: forbidden" in caplog.text
    assert not np.any(plain["loss"] == whole["loss"])


class Wrong:
    """A Triton step with wrong arguments."""

    def __init__(self, function: Any, change: Callable[[list[Any]], None]) -> None:
        self.function, self.change = function, change

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        def launch(*arguments: Any) -> None:
            changed = list(arguments)
            self.change(changed)
            self.function[grid](*changed)

        return launch


def scaled(place: int, factor: float) -> Callable[[list[Any]], None]:
    def change(arguments: list[Any]) -> None:
        arguments[place] *= factor

    return change


def one_less(place: int) -> Callable[[list[Any]], None]:
    def change(arguments: list[Any]) -> None:
        arguments[place] = max(arguments[place] - 1, 0)

    return change


def broken(arguments: list[Any]) -> None:
    raise RuntimeError("no such instruction\nmore")


# Places of arguments count from the end, except that of the rank.
FAULTS = {
    "sgld-decay": ("langevin", scaled(-5, 1.001), "differs"),
    "sgld-gradient": ("langevin", scaled(-4, 1.001), "differs"),
    "sgld-rank": ("langevin", one_less(9), "differs"),
    "sgld-noise": ("langevin", scaled(-3, 1.2), "variance"),
    "sgld-compiler": ("langevin", broken, "RuntimeError: no such instruction"),
    "kinetic-gradient": ("kinetic", scaled(-7, 1.001), "differs"),
    "kinetic-drift": ("kinetic", scaled(-6, 1.001), "differs"),
    "kinetic-friction": ("kinetic", scaled(-5, 1.001), "differs"),
    "kinetic-rank": ("kinetic", one_less(10), "differs"),
    "kinetic-noise": ("kinetic", scaled(-4, 0.8), "variance"),
}


@pytest.mark.parametrize(("name", "change", "reason"), FAULTS.values(), ids=list(FAULTS))
def test_self_check_finds_a_wrong_step(
    name: str, change: Callable[[list[Any]], None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = posterior("rnn", "erf")
    memory, blocks = state(target, 40, moving=name == "kinetic")
    before = memory.clone()
    monkeypatch.setattr(triton_steps, name, Wrong(getattr(triton_steps, name), change))
    objection = fused.objection(memory, blocks, target, some_keys(2))
    assert objection is not None
    assert reason in objection
    assert "\n" not in objection
    assert torch.equal(memory, before)


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_self_check_passes_what_is_right(kind: Kind, moving: bool) -> None:
    target = posterior(kind, "erf")
    memory, blocks = state(target, 13, moving=moving)
    before = memory.clone()
    assert fused.objection(memory, blocks, target, some_keys(2)) is None
    assert torch.equal(memory, before)


def test_a_wrong_step_leaves_the_chain_to_pytorch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_steps, "langevin", Wrong(triton_steps.langevin, scaled(-3, 1.5)))
    target = posterior("rnn")
    memory, blocks = state(target, 40)
    settings = RUNS["sgld"].sampler
    assert settings.method == "sgld"
    advance = gpu.advance(target, settings, blocks, lambda step: target, use_graphs=False)
    expected = memory.clone()
    with caplog.at_level(logging.WARNING):
        advance(memory, new_streams(1, 2, DEVICE), 0)
    assert "fused steps are not used: mean or variance" in caplog.text
    size = memory.shape[1]
    noise = torch.stack(
        [torch.randn(size, generator=s, device=DEVICE) for s in new_streams(1, 2, DEVICE)]
    )
    sgld.step(blocks(expected)[0], blocks(noise)[0], target, settings.step_size)
    assert torch.equal(memory, expected)


COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from weightsharing.sampling.backends import fused, triton_steps

kinds = dict.fromkeys(("blocks", "velocities", "left", "right"), "*fp32")
kinds |= dict.fromkeys(("keys", "clock"), "*i64")
numbers = ("keep", "pull", "spread", "step_size", "kept")
# Triton makes constants of integers that are 1: the rows of v, the columns of U with a scalar input.
for step, refreshed, ones in (
    (triton_steps.langevin, None, ()),
    (triton_steps.langevin, None, ("columns", "right_stride")),
    (triton_steps.kinetic, True, ("rows", "left_stride")),
    (triton_steps.kinetic, False, ()),
):
    names = step.arg_names
    fixed = {"ROWS": fused.TILE_ROWS, "COLUMNS": fused.TILE_COLUMNS, **dict.fromkeys(ones, 1)}
    if refreshed is not None:
        fixed["REFRESHED"] = refreshed
    types = {name: kinds.get(name, "fp32" if name in numbers else "i32") for name in names}
    types |= dict.fromkeys(fixed, "constexpr")
    source = ASTSource(step, types, {(names.index(name),): value for name, value in fixed.items()})
    built = compile(source, target=GPUTarget("cuda", 80, 32))
    assert len(built.asm["cubin"]) > 1000
    assert "tf32" not in built.asm["ptx"]
"""


@pytest.mark.skipif(ON_GPU, reason="all other tests compile them")
def test_fused_steps_compile_without_a_gpu(tmp_path: Path) -> None:
    """Triton's own assembler makes machine code of compute capability 8.0."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment | {"PYTHONPATH": path}, text=True,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
