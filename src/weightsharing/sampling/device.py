"""Devices that chains run on, and their errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from weightsharing.errors import DeviceError

# Words in PyTorch's errors of a GPU: lost, out of memory, failed in a library.
GPU_ERRORS = ("CUDA", "cuSOLVER")


def find_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``. Raises DeviceError if there is no GPU for cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device: got 'cuda', but there is no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """The name that results carry: cpu, or the model of the GPU."""
    return str(device) if device.type == "cpu" else torch.cuda.get_device_name(device)


@contextlib.contextmanager
def gpu_errors(describe: Callable[[str], str]) -> Iterator[None]:
    """Turns PyTorch's errors of a GPU into DeviceError; ``describe`` makes its message of the reason."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in GPU_ERRORS):
            raise
        raise DeviceError(describe(str(error).splitlines()[0])) from error
