"""Parts of the compiled step; ``test_backends`` holds the whole to PyTorch's."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from weight_steps import CPU, problem, states

from weightsharing.errors import ConfigError
from weightsharing.model.activations import ACTIVATIONS, Activation, ActivationName
from weightsharing.model.architecture import Kind
from weightsharing.sampling.backends import compiled, reference
from weightsharing.sampling.backends.compiled import jit, key_of, step
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.protocol import Dynamics
from weightsharing.sampling.random import new_streams


@pytest.mark.parametrize("rank", range(1, 10))
def test_gradient_of_any_rank(rank: int) -> None:
    """The sum of outer products takes four at a time and the rest one by one."""
    generator = np.random.default_rng(rank)
    block, velocity = generator.standard_normal((2, 5, 7))
    left, right = generator.standard_normal((rank, 5)), generator.standard_normal((rank, 7))
    moved, moving = block.copy(), velocity.copy()
    times = np.array([-0.1, 0.1, 0.05, 0.05, 0.9])
    generators = np.zeros((4, step.LANES), np.uint32)
    flat = moved.reshape(-1), moving.reshape(-1)
    step.move(*flat, True, generators, left, right, False, 0.3, 0.2, times)
    expected = velocity - 0.1 * (block + 0.3 * left.T @ right)
    np.testing.assert_allclose(moving, expected, rtol=0.0, atol=1e-14)
    np.testing.assert_allclose(moved, block + 0.1 * expected, rtol=0.0, atol=1e-14)


def test_nowhere_to_keep_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source tree and a home that cannot be written to: compiled anew in each process."""

    def nowhere(**options: Any) -> Any:
        if options.pop("cache", False):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, options)

    def function() -> None:
        """Nothing."""

    monkeypatch.setattr(numba, "njit", nowhere)
    compiled_function, options = jit.compiled(function)
    assert compiled_function is function
    assert options["nogil"]


def words_of(key: int, lane: int, count: int) -> list[int]:
    """Words of a lane by SplitMix64 and xoshiro128++ as published, in Python's integers."""
    long, low = 2**64 - 1, 2**32 - 1
    state = []
    for half in (1, 2):
        word = (key + (2 * lane + half) * 0x9E3779B97F4A7C15) & long
        word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & long
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & long
        word ^= word >> 31
        state += [word & low, word >> 32]

    def rotated(word: int, by: int) -> int:
        return (word << by | word >> 32 - by) & low

    a, b, c, d = state
    words = []
    for _ in range(count):
        words.append((rotated((a + d) & low, 7) + a) & low)
        shifted = b << 9 & low
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, rotated(d, 11)
    return words


def drawn_words(state: NDArray[np.uint32], count: int) -> list[int]:
    """Words of the compiled generator from this state."""
    words = []
    for _ in range(count):
        word, *rest = step.next_word(*state)
        state = np.array(rest, np.uint32)
        words.append(word)
    return words


def test_generator_is_that_of_its_authors() -> None:
    """The first two words of SplitMix64 for the seed 1234567 are those of Rosetta Code's test."""
    generators = np.empty((4, step.LANES), np.uint32)
    step.seed(np.uint64(1234567), generators)
    longs = generators[::2].astype(np.uint64) + (
        generators[1::2].astype(np.uint64) << np.uint64(32)
    )
    assert longs[:, 0].tolist() == [6457827717110365317, 3203168211198807973]
    step.seed(np.uint64(2**63 + 11), generators)
    for lane in (0, 1, step.LANES - 1):
        assert drawn_words(generators[:, lane], 5) == words_of(2**63 + 11, lane, 5)


def test_deviates_are_those_of_box_and_muller() -> None:
    """Radius and angle of each pair in float64; extreme words too, such as 0."""
    generators = np.empty((4, step.LANES), np.uint32)
    step.seed(np.uint64(5), generators)
    generators[:, 0] = 0  # draws the word 0 for ever
    deviates = np.empty(2 * step.LANES, np.float32)
    first, second = np.array([drawn_words(state, 2) for state in generators.T], np.float64).T
    step.fill_normal(generators, deviates)
    u = (np.floor(first / 2) + 0.5) / 2.0**31
    np.testing.assert_allclose(
        (deviates.reshape(2, -1).astype(np.float64) ** 2).sum(0),
        -2.0 * np.log(u),
        rtol=2e-6,
        atol=3e-7,
    )
    angle = np.pi / 2 * (second % 2**30 / 2.0**30 - 0.5)
    cosine = np.cos(angle) * np.where(second >= 2**31, 1.0, -1.0)
    pair = np.array([cosine, np.sin(angle)])
    exchanged = second % 2**31 >= 2**30
    pair[:, exchanged] = pair[::-1, exchanged]
    np.testing.assert_allclose(deviates.reshape(2, -1), np.sqrt(-2.0 * np.log(u)) * pair, atol=3e-6)


def test_law_of_the_deviates() -> None:
    """Moments, the law itself, and no correlation between neighbours, lanes, steps and chains.

    Eleven z-scores and a Kolmogorov-Smirnov test, each wrong by chance once in 1e5.
    """
    count, steps = 2**16, 64
    generators, drawn = np.empty((4, step.LANES), np.uint32), np.empty((steps, count), np.float32)
    for key, deviates in enumerate(drawn):
        step.seed(np.uint64(key_of(new_streams(key % 2, 1, CPU)[0]) + key), generators)
        step.fill_normal(generators, deviates)
    z = drawn.astype(np.float64)
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-5
    scores = [(z**power - mean) / np.sqrt(spread) for power, mean, spread in
              ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96))]  # fmt: skip
    scores += [
        (np.abs(z) > 4.0) / np.sqrt(2 * stats.norm.sf(4.0)) - np.sqrt(2 * stats.norm.sf(4.0))
    ]
    for lag in (1, step.LANES, 2 * step.LANES):
        scores.append(z[:, lag:] * z[:, :-lag])
    scores.append(z[1:] * z[:-1])
    squares = (z**2 - 1.0) / np.sqrt(2.0)
    scores.append(squares[:, step.LANES :] * squares[:, : -step.LANES])
    scores.append(squares[1:] * squares[:-1])
    sums = np.array([values.sum() / np.sqrt(values.size) for values in scores])
    assert np.abs(sums).max() < stats.norm.isf(0.5e-5), sums


def gelu(h: float) -> float:
    return 0.5 * h * (1.0 + math.erf(h / math.sqrt(2.0)))


def slope_of_gelu(h: float) -> float:
    normal = math.exp(-0.5 * h * h) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + math.erf(h / math.sqrt(2.0))) + h * normal


# Activations of one's own, as model/activations.py would have them.
OWN = {
    "sin": Activation(torch.sin, torch.cos, odd=True, scalar=(math.sin, math.cos)),
    "gelu": Activation(
        lambda h: 0.5 * h * (1.0 + torch.erf(h / math.sqrt(2.0))),
        lambda h: 0.5 * (1.0 + torch.erf(h / math.sqrt(2.0)))
        + h * torch.exp(-0.5 * h * h) / math.sqrt(2.0 * math.pi),
        odd=False,
        scalar=(gelu, slope_of_gelu),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_activations_of_ones_own_are_compiled(
    name: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same step as PyTorch's; without ``scalar`` there is none."""
    target = problem(kind, "tanh", 2, 4, torch.float64, CPU, True)
    architecture = target.architecture.model_copy(update={"activation": name})
    target = replace(target, architecture=architecture)
    monkeypatch.setitem(cast(dict[str, Activation], ACTIVATIONS), name, OWN[name])
    # Without noise, which does not know the activation.
    dynamics = Dynamics(kinetic.move, 0.02, 0.05, 100, has_velocities=True)
    assert compiled.supports(target, dynamics)
    memory, blocks = states(target, 11, chains=2, moving=True)
    expected = memory.clone()
    for backend, moved in ((compiled, memory), (reference, expected)):
        streams = new_streams(3, 2, CPU)
        advance = backend.advance(target, dynamics, blocks, lambda number: target)
        for number in range(3):
            advance(moved, streams, number)
    torch.testing.assert_close(memory, expected, rtol=1e-12, atol=1e-12)
    monkeypatch.setitem(
        cast(dict[str, Activation], ACTIVATIONS), name, replace(OWN[name], scalar=None)
    )
    assert not compiled.supports(target, dynamics)


@pytest.mark.parametrize(
    ("scalar", "says"),
    [
        ((math.tanh, math.cos), "scalar of 'sin' differs from phi and slope"),
        ((math.sin, lambda h: -math.cos(h)), "scalar of 'sin' differs from phi and slope"),
        (
            (lambda h: cast(Any, np.linalg).nothing(h), math.cos),
            "Numba cannot compile scalar of 'sin'",
        ),
    ],
)
def test_scalars_that_are_not_those_of_the_activation_are_refused(
    scalar: tuple[Any, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = cast(dict[str, Activation], ACTIVATIONS)
    monkeypatch.setitem(own, "sin", replace(OWN["sin"], scalar=scalar))
    with pytest.raises(ConfigError, match=says) as caught:
        compiled.pointers(cast(ActivationName, "sin"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ending", "kept"), [("nbi", 0), ("nbi", 100), ("nbc", 0), ("nbc", 100)])
def test_damaged_compiled_code_is_compiled_anew(
    tmp_path: Path, ending: str, kept: int, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Said once: what is then on disk is sound."""
    source = tmp_path / "twice.py"
    source.write_text("def twice(x):\n    return 2.0 * x\n")

    def call() -> None:
        """As in a new process: the function is loaded from disk if it is there."""
        specification = importlib.util.spec_from_file_location("twice", source)
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        function = jit.compiled(module.twice)
        results = []
        jit.with_sound_cache(lambda: results.append(function(4.0)))
        assert results == [8.0]

    monkeypatch.setattr(jit, "_COMPILED", [])
    call()
    (path,) = tmp_path.rglob(f"*.{ending}")
    path.write_bytes(path.read_bytes()[:kept])
    call()
    said = [record.message for record in caplog.records]
    assert said == ["compiled code on disk: damaged; compiling anew"]
    call()
    assert len(caplog.records) == 1


def test_pytorch_makes_the_steps_if_numba_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """NUMBA_DISABLE_JIT=1, by which users debug functions of their own."""
    target = problem("rnn", "linear", 1, 4)
    assert compiled.supports(target, Dynamics(kinetic.move, 0.1, damping=0.1))
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert not compiled.supports(target, Dynamics(kinetic.move, 0.1, damping=0.1))


def test_other_errors_are_no_damage() -> None:
    def fail() -> None:
        raise ValueError("of the step itself")

    with pytest.raises(ValueError, match="of the step itself"):
        jit.with_sound_cache(fail)
