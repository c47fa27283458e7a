"""CUDA graphs: record the launches of a step once, and replay them as one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

log = logging.getLogger(__name__)

# PyTorch requires a few calls before the capture, in which libraries allocate their workspaces.
WARM_UPS = 3


def captured(step: Callable[[], None], memory: Tensor) -> Callable[[], None]:
    """``step`` as a CUDA graph; ``step`` itself, with a warning, if it cannot be captured.

    step: moves ``memory`` in place. Its launches and the addresses of its tensors must be the same at
    each call. The values of the other tensors may change between calls. The returned function keeps
    these tensors alive. ``memory`` is restored after the capture.
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
    # Steps that are launched one by one are correct, whatever the reason of the failure.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        log.warning(
            "no CUDA graph (%s: %s); steps are launched one by one", type(error).__name__, reason
        )
        return step
    finally:
        # A failed capture may leave work on another stream, and make it the current one.
        if current is not None:
            torch.cuda.set_stream(current)
            torch.cuda.synchronize(memory.device)
        memory.copy_(before)
    return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, step: Callable[[], None]) -> None:
    """Replay a graph. ``step`` is an argument because it keeps tensors alive that the graph reads."""
    graph.replay()
