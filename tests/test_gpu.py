"""Steps on a GPU: their fallbacks, and graphs. test_fused.py tests the fused steps.

All launches but those of graphs also run on a CPU. Graphs need a GPU.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from conftest import endpoint_run, kinetic_run
from torch import Tensor

from weightsharing.sampling import chain, dynamics
from weightsharing.sampling.backends import fused, gpu, graphs
from weightsharing.sampling.batches import single
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.protocol import Advance
from weightsharing.sampling.random import Streams, new_streams
from weightsharing.sampling.run import Run

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

RUNS = {
    "sgld": endpoint_run(0.5, width=33, step_size=0.01, ramp=0.06),
    "kinetic": kinetic_run(0.5, kind="dnn", width=33, step_size=0.01, ramp=0.06, refresh=3),
}
TOGETHER = pytest.mark.parametrize("run", RUNS.values(), ids=list(RUNS))


def chains(
    run: Run, device: str, use_fused: bool = True, use_graphs: bool = True
) -> tuple[Tensor, Streams, Advance]:
    """States at step 0, random streams, and the step of the GPU's backend."""
    settings, where = run.sampler, torch.device(device)
    assert not isinstance(settings, ExactSettings)
    batch = single(run, run.tasks[0])
    target, sampler = chain.build_sampler(batch, where)
    streams = new_streams(run.seed, settings.chains, where)
    memory = sampler.init(streams).memory
    advance = gpu.advance(
        target,
        settings,
        sampler.blocks,  # type: ignore[attr-defined]
        lambda step: dynamics.ramped(target, step, settings),
        use_fused,
        use_graphs,
    )
    return memory, streams, advance


@TOGETHER
def test_without_triton_steps_are_those_of_a_cpu(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the ramp and between refreshments, with warnings of missing Triton and missing graphs."""
    for name in ("weightsharing.sampling.backends.triton_steps", "triton"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delattr("weightsharing.sampling.backends.triton_steps", raising=False)
    monkeypatch.setattr(torch.cuda, "Stream", forbidden)
    memory, streams, advance = chains(run, "cpu")
    for step in range(9):
        advance(memory, streams, step)
    warnings = [record.message for record in caplog.records]
    assert warnings[0].startswith("fused steps are not used: ModuleNotFoundError: import of triton")
    assert warnings[1].startswith("no CUDA graph (RuntimeError: no stream); steps are launched")
    batch = single(run, run.tasks[0])
    _, sampler = chain.build_sampler(batch, torch.device("cpu"))
    streams = new_streams(run.seed, run.sampler.chains, torch.device("cpu"))
    expected = sampler.init(streams)
    for step in range(9):
        expected = sampler.step(expected, streams, step)
    torch.testing.assert_close(memory, expected.memory, rtol=1e-6, atol=1e-6)


def forbidden(*arguments: object) -> None:
    raise RuntimeError("no stream\nat all")


def test_float64_is_pytorchs_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    memory, streams, advance = chains(
        endpoint_run(0.5, width=8, precision="float64"), "cpu", use_graphs=False
    )
    with caplog.at_level(logging.WARNING):
        advance(memory, streams, 0)
    assert not caplog.records


def test_failed_capture_leaves_state_and_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The state is restored if a capture fails."""
    monkeypatch.setattr(torch.cuda, "Stream", forbidden)
    memory = torch.arange(3.0)
    assert graphs.captured(forbidden, memory) is forbidden
    assert torch.equal(memory, torch.arange(3.0))
    assert "no CUDA graph (RuntimeError: no stream)" in caplog.text


class RecordedGraph:
    """A CUDA graph that keeps no tensor. Real graphs keep none from outside their pool."""

    def replay(self) -> None:
        """Do nothing: a graph does not call the captured function again."""


class RecordedStream:
    """A stream without a device."""

    def __init__(self, device: torch.device) -> None: ...

    def wait_stream(self, other: object) -> None:
        """Do nothing: all work is finished already."""


@contextlib.contextmanager
def recording(*arguments: object) -> Iterator[None]:
    yield


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams and graphs on a CPU: a captured function is called once."""
    for name in ("Stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, RecordedStream)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)


@pytest.mark.usefixtures("recorded_graphs")
def test_a_captured_step_keeps_what_it_reads() -> None:
    """A graph replays addresses: it would read other data if its tensors were freed."""
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
    """Only captured launches read the keys of Philox."""
    made: list[weakref.ref[Tensor]] = []

    def watched(streams: Streams, device: torch.device) -> Tensor:
        keys = torch.arange(len(streams))
        made.append(weakref.ref(keys))
        return keys

    monkeypatch.setattr(gpu, "_usable", lambda *arguments: True)
    monkeypatch.setattr(fused, "langevin_step", lambda *arguments: None)
    monkeypatch.setattr(fused, "keys", watched)
    memory, streams, advance = chains(RUNS["sgld"], "cpu")
    advance(memory, streams, 0)
    gc.collect()
    (keys,) = made
    assert keys() is not None
    del advance
    gc.collect()
    assert keys() is None


def test_other_chains_are_bound_anew() -> None:
    """A step uses the keys and addresses of its chains, not those of the first call."""
    run = endpoint_run(0.5, width=8)
    memory, streams, advance = chains(run, "cpu", use_fused=False, use_graphs=False)
    first, second = memory.clone(), memory.clone()
    advance(first, streams, 0)
    advance(second, new_streams(run.seed + 1, run.sampler.chains, torch.device("cpu")), 0)
    assert not torch.equal(first, second)
    assert not torch.equal(second, memory)


@needs_gpu
@TOGETHER
@pytest.mark.parametrize("use_fused", [True, False])
def test_graphs_replay_what_is_launched(
    run: Run, use_fused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the ramp and between refreshments; no check and no capture fails."""
    pytest.importorskip("triton")
    ends = []
    for use_graphs in (True, False):
        memory, streams, advance = chains(run, "cuda", use_fused, use_graphs)
        for step in range(9):
            advance(memory, streams, step)
        ends.append(memory)
    assert not caplog.records
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-5)


@needs_gpu
def test_a_capture_that_fails_half_way_leaves_stream_and_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A step that waits for the device cannot be captured. The current stream stays the same."""
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
@TOGETHER
def test_steps_wait_for_nothing(run: Run) -> None:
    """The host never waits for the device after the first step."""
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
@TOGETHER
def test_chains_on_a_gpu_do_not_depend_on_how_often_they_are_stopped(run: Run) -> None:
    """New streams and graphs at step 5, as after a checkpoint."""
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
    """The same run with another seed, so that deviates can depend only on the given streams."""
    return run.model_copy(update={"seed": run.seed + 1})
