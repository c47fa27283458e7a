"""CUDA graphs: the launches of a step recorded once and replayed as one."""

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
    """``step`` as a CUDA graph; ``step`` itself, with a warning, if it cannot be captured.

    step: moves ``memory`` in place, by launches that are the same at each call, on tensors that stay
    where they are. What it reads besides may change in value between calls; what is returned keeps it
    alive. ``memory`` is left as it was.
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
    # Whatever the reason, steps that are launched one by one are as right.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        log.warning(
            "no CUDA graph (%s: %s); steps are launched one by one", type(error).__name__, reason
        )
        return step
    finally:
        # What failed may have left work on another stream, and that one current.
        if current is not None:
            torch.cuda.set_stream(current)
            torch.cuda.synchronize(memory.device)
        memory.copy_(before)
    return partial(_replay, graph, step)


def _replay(graph: torch.cuda.CUDAGraph, step: Callable[[], None]) -> None:
    """``step`` is not called, but held: of tensors made before it a graph knows the addresses alone."""
    graph.replay()
