"""Tasks of a user's own: a NetCDF file of inputs and targets."""

from __future__ import annotations

import functools
import io
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import xarray as xr

from weightsharing.errors import FileError
from weightsharing.model.axes import OUTPUT_AXES, Array
from weightsharing.model.task import Task

# What a process of its own does with a file, and how many seconds of a processor it may take. A variable
# with units of time must stay a number.
_OPEN = """
import io, resource, sys, xarray
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), int(sys.argv[1])))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
try:
    xarray.open_dataset(io.BytesIO(sys.stdin.buffer.read()), decode_times=False).load()
except Exception as error:
    print(str(error).partition("\\n")[0] or type(error).__name__)
"""
OPENING_SECONDS = 5
# First bytes of NetCDF files: version 4, which is HDF5, and the older ones.
_SIGNATURES = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02")
# Sizes of the largest number of a task.
SMALLEST, LARGEST = 1e-9, 1e9


def file_task(path: Path, patterns: int, steps: int) -> Task:
    """The task in a NetCDF file, with P = ``patterns`` and T = ``steps``.

    The file has these variables, with their axes in any order:

    - inputs x_p^t, (pattern, time, feature), t = 0..T-1;
    - targets y_p^t, (pattern, output_time), t = 1..T, NaN where there is none; with several readouts
      (pattern, output_time, readout);
    - supervised, (pattern, output_time), 1 at targets to train on and 0 elsewhere; all if it is left out.

    Generalisation is measured if all patterns have targets at all times from t = 2 on.

    Raises FileError, naming the file, if it cannot be read or lacks a variable or an axis, if its sizes
    or times are not those of the run, if all inputs vanish, or if a number is not finite. Inputs and
    targets beyond ``LARGEST`` or inputs below ``SMALLEST`` are refused too: their products leave float64.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    if not content.startswith(_SIGNATURES):
        raise FileError(f"{path}: not NetCDF; Dataset.to_netcdf of xarray writes such files")
    if fault := _opening_fault(content):
        raise FileError(f"{path}: damaged, or not NetCDF: {fault}")
    with xr.open_dataset(io.BytesIO(content), decode_times=False) as opened:
        data = opened.load()
    try:
        inputs = _array(data, "inputs", (patterns, steps, None), ("pattern", "time", "feature"))
        several = "targets" in data and "readout" in data["targets"].dims
        axes = (*OUTPUT_AXES, "readout") if several else OUTPUT_AXES
        targets = _array(data, "targets", (patterns, steps, None)[: len(axes)], axes)
        supervised = None
        if "supervised" in data:
            chosen = _array(data, "supervised", targets.shape[:2], OUTPUT_AXES)
            if not np.isin(chosen, (0, 1)).all():
                raise ValueError("supervised: want 0 and 1 only")
            supervised = chosen == 1
        if not inputs.any():
            raise ValueError("inputs: all zero")
        task = Task(inputs, targets) if supervised is None else Task(inputs, targets, supervised)
        if not task.supervised.any():
            raise ValueError("no target is trained on")
        _refuse_extreme("inputs", inputs, SMALLEST)
        _refuse_extreme("targets", targets[~np.isnan(targets)], 0.0)
        return task
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


@functools.lru_cache(maxsize=1)
def _opening_fault(content: bytes) -> str:
    """Why a file cannot be read, "" if it can.

    HDF5 can hang or crash on damage, against which Python can do nothing: a process of its own reads the
    file first. A file with a seal needs no such test.
    """
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(OPENING_SECONDS)], input=content, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode == -signal.SIGXCPU:
        return f"reading it takes more than {OPENING_SECONDS} s"
    if done.returncode != 0:
        return f"reading it ends with status {done.returncode}"
    return done.stdout.decode(errors="replace").strip()


def _refuse_extreme(name: str, values: Array, smallest: float) -> None:
    """Raises ValueError if the largest value is too small or too large to compute with."""
    largest = float(np.abs(values).max())
    if not smallest <= largest <= LARGEST:
        raise ValueError(
            f"{name}: the largest is {largest:g}, want a size from {smallest:g} to {LARGEST:g}"
        )


def _array(
    data: xr.Dataset, name: str, shape: tuple[int | None, ...], axes: tuple[str, ...]
) -> Array:
    """A variable of a file with these axes, as float64. Raises ValueError if axes or sizes differ.

    shape: the size of each axis, None where any size is allowed.
    """
    if name not in data:
        raise ValueError(f"has no variable {name!r}")
    variable = data[name]
    if set(variable.dims) != set(axes):
        raise ValueError(f"{name}: axes {list(variable.dims)}, want {list(axes)}")
    for axis, size in zip(axes, shape, strict=True):
        if size is not None and variable.sizes[axis] != size:
            raise ValueError(
                f"{name}: {variable.sizes[axis]} along {axis!r}, but the run has {size}"
            )
    for axis, first in (("time", 0), ("output_time", 1)):
        if axis in variable.coords:
            wanted = np.arange(first, first + variable.sizes[axis])
            if not np.array_equal(variable.coords[axis], wanted):
                raise ValueError(f"{name}: {axis!r} must count from {first}, or not be labelled")
    if variable.dtype.kind not in "biuf":
        raise ValueError(f"{name}: not real numbers")
    return variable.transpose(*axes).to_numpy().astype(np.float64)
