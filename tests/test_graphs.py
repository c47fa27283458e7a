"""CUDA graphs of steps, and how chains are bound to them. ``test_backends`` holds the steps to PyTorch's.

A GPU can capture graphs; a CPU can make the same launches one by one.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from conftest import endpoint_run, kinetic_run
from torch import Tensor

from weightsharing.sampling import chain, dynamics
from weightsharing.sampling.backends import fused
from weightsharing.sampling.backends.fused import graphs, steps
from weightsharing.sampling.batches import single
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.protocol import Advance
from weightsharing.sampling.random import Streams, new_streams
from weightsharing.sampling.run import Run

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RUNS = {
    "sgld": endpoint_run(0.5, width=33, step_size=0.01, ramp=0.06),
    "kinetic": kinetic_run(
        0.5, kind="dnn", width=33, step_size=0.01, ramp=0.06, refresh=3, friction=2.0
    ),
}
EACH_RUN = pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))


def chains(
    run: Run, device: str, use_triton: bool = True, use_graphs: bool = True
) -> tuple[Tensor, Streams, Advance]:
    """States at step 0, random streams, and the step of the fused backend."""
    settings, place = run.sampler, torch.device(device)
    assert not isinstance(settings, ExactSettings)
    target, sampler = chain.build_sampler(single(run, run.tasks[0]), place)
    assert isinstance(sampler, dynamics.DynamicsSampler)
    streams = new_streams(run.seed, settings.chains, place)
    advance = fused.advance(
        target, sampler.dynamics, sampler.blocks, partial(dynamics.ramped, target, settings=settings),
        use_triton, use_graphs,
    )  # fmt: skip
    return sampler.init(streams).memory, streams, advance


def forbidden(*arguments: object) -> None:
    raise RuntimeError("no stream\nat all")


def test_failed_capture_leaves_state_and_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that fails half way through is undone."""
    monkeypatch.setattr(torch.cuda, "Stream", forbidden)
    memory = torch.arange(3.0)
    assert graphs.captured(forbidden, memory) is forbidden
    assert torch.equal(memory, torch.arange(3.0))
    assert "no CUDA graph (RuntimeError: no stream)" in caplog.text


class RecordedGraph:
    """A CUDA graph that keeps no tensor, as real ones keep none from outside their pool."""

    def replay(self) -> None:
        """Nothing: what was captured is not called again."""


class RecordedStream:
    """A stream without a device."""

    def __init__(self, device: torch.device) -> None: ...

    def wait_stream(self, other: object) -> None:
        """All work is done at once: there is nothing to wait for."""


@contextlib.contextmanager
def recording(*arguments: object) -> Iterator[None]:
    yield


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and graphs on a CPU: what is captured is called once."""
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, RecordedStream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)


@pytest.mark.usefixtures("recorded_graphs")
def test_a_captured_step_keeps_what_it_reads() -> None:
    """A graph replays addresses: were the tensors freed, it would read whatever came after them."""
    memory, keys = torch.zeros(3), torch.ones(3)
    alive = weakref.ref(keys)

    def add(keys: Tensor) -> None:
        memory.add_(keys)

    step: Callable[[], None] = partial(add, keys)
    replay = graphs.captured(step, memory)
    assert replay is not step
    assert torch.equal(memory, torch.zeros(3))
    del keys, step
    gc.collect()
    assert alive() is not None
    del replay
    gc.collect()
    assert alive() is None


@pytest.mark.usefixtures("recorded_graphs")
def test_keys_live_as_long_as_the_graphs_that_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captured steps read the keys of Philox, and nothing else does."""
    made: list[weakref.ref[Tensor]] = []

    def watched(streams: Streams, device: torch.device) -> Tensor:
        keys = torch.arange(len(streams))
        made.append(weakref.ref(keys))
        return keys

    monkeypatch.setattr(fused, "_is_usable", lambda *arguments: True)
    monkeypatch.setattr(steps, "move", lambda *arguments: None)
    monkeypatch.setattr(steps, "keys", watched)
    memory, streams, advance = chains(RUNS["sgld"], "cpu")
    advance(memory, streams, 0)
    gc.collect()
    (keys,) = made
    assert keys() is not None
    del advance
    gc.collect()
    assert keys() is None


def test_other_chains_are_bound_anew() -> None:
    """Keys and places are those of the chains given, not of those given first."""
    run = endpoint_run(0.5, width=8)
    memory, streams, advance = chains(run, "cpu", use_triton=False, use_graphs=False)
    first, second = memory.clone(), memory.clone()
    advance(first, streams, 0)
    advance(second, new_streams(run.seed + 1, run.sampler.chains, torch.device("cpu")), 0)
    assert not torch.equal(first, second)
    assert not torch.equal(second, memory)


@needs_gpu
@EACH_RUN
@pytest.mark.parametrize("use_triton", [True, False])
def test_graphs_replay_what_is_launched(
    run: Run, use_triton: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the ramp and between refreshments; no fused step and no capture fails."""
    pytest.importorskip("triton")
    ends = []
    for use_graphs in (True, False):
        memory, streams, advance = chains(run, "cuda", use_triton, use_graphs)
        for step in range(9):
            advance(memory, streams, step)
        ends.append(memory)
    assert not caplog.records
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-5)


@needs_gpu
def test_a_capture_that_fails_half_way_leaves_stream_and_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A step that waits for the device cannot be captured; later work is on the stream of before."""
    memory, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()

    def step() -> None:
        memory.mul_(1.0 + memory.sum().item())

    assert graphs.captured(step, memory) is step
    assert "no CUDA graph" in caplog.text
    assert torch.cuda.current_stream() == before
    assert memory.tolist() == [1.0, 1.0, 1.0]
    step()
    assert memory.tolist() == [4.0, 4.0, 4.0]


@needs_gpu
@EACH_RUN
def test_steps_wait_for_nothing(run: Run) -> None:
    """No step after the first makes the host wait for the device."""
    memory, streams, advance = chains(run, "cuda")
    advance(memory, streams, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 12):
            advance(memory, streams, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(torch.isfinite(memory).all())


@needs_gpu
@EACH_RUN
def test_chains_on_a_gpu_do_not_depend_on_how_often_they_are_stopped(run: Run) -> None:
    """Streams and graphs made anew at step 5, as after a checkpoint."""
    memory, streams, advance = chains(run, "cuda")
    other, others, before = chains(run, "cuda")
    for step in range(5):
        before(other, others, step)
    resumed = [torch.Generator("cuda") for _ in others]
    for stream, old in zip(resumed, others, strict=True):
        stream.set_state(old.get_state())
    after = chains(replace_seed(run), "cuda")[2]
    for step in range(9):
        advance(memory, streams, step)
        if step >= 5:
            after(other, resumed, step)
    torch.testing.assert_close(other, memory, rtol=1e-5, atol=1e-5)


def replace_seed(run: Run) -> Run:
    """The same run of another seed, so that only the streams given can tell what is drawn."""
    return run.model_copy(update={"seed": run.seed + 1})
