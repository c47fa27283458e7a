"""CUDA graphs: record the launches of a step once and replay them as one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# PyTorch asks for a few calls before the capture, in which libraries allocate what they keep.
WARM_UPS = 3


def captured(step: Callable[[], None], memory: Tensor) -> Callable[[], None]:
    """``step`` as a CUDA graph; ``step`` itself, with a warning, if the capture fails.

    step: moves ``memory`` in place. Each call must make the same launches on tensors at fixed addresses,
    whose values may change between calls. The result keeps these tensors alive, and ``memory`` is
    left unchanged.
    """
    before = memory.clone()
    current = torch.cuda.current_stream(memory.device) if memory.is_cuda else None
    try:
        side = torch.cuda.Stream(memory.device)
        side.wait_stream(torch.cuda.current_stream(memory.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream(memory.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    # Launching a step without a graph is correct, whatever the error.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        log.warning(
            "no CUDA graph (%s: %s); steps are launched one by one", type(error).__name__, reason
        )
        return step
    finally:
        # A failed capture may leave work on the other stream, and that stream current.
        if current is not None:
            torch.cuda.set_stream(current)
            torch.cuda.synchronize(memory.device)
        memory.copy_(before)
    return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, step: Callable[[], None]) -> None:
    """Replay; holding ``step`` keeps its tensors alive, of which the graph knows only the addresses."""
    graph.replay()
