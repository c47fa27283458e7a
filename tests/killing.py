"""Processes that are killed when they have got so far, for tests/faults and tests/fuzz."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from conftest import ROOT
from test_faults import Folder


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that it is killed with all its children."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.Popen(
        words, cwd=folder, env=environment | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def kill_at(
    progress: Callable[[], int],
    least: int,
    delay: float,
    words: list[str],
    folder: Path,
    number: int = signal.SIGKILL,
    send: Callable[[int, int], None] = os.killpg,
) -> None:
    """Start a process, and send it a signal ``delay`` seconds after it has got so far.

    send: to its group, or os.kill for the process alone.
    """
    process = start(words, folder)
    while progress() < least:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.05)
    time.sleep(delay)
    assert process.poll() is None, "it ended before it was killed"
    send(process.pid, number)
    process.wait()


def moments(largest: int, kills: int = 10) -> list[tuple[int, float]]:
    """How far the next process is to get before it is killed, in ascending order, and seconds after that.

    The machine's speed does not enter, so that none ends before its moment.
    """
    generator = np.random.default_rng(20260216)
    progress = np.sort(generator.integers(0, 7 * largest // 10, size=kills))
    return list(zip(progress.tolist(), generator.uniform(0.0, 0.5, kills).tolist(), strict=True))


def command(folder: Folder) -> list[str]:
    words = [*folder.words, "--checkpoint-seconds", "0.1"]
    return [sys.executable, "-m", "weightsharing", *words]


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint; 0 if there is none."""
    if not checkpoint.exists():
        return 0
    with np.load(checkpoint) as stored:
        return int(stored["step"])


def files_in(folder: Path) -> set[Path]:
    """The results that are there in full."""
    found = (path for path in (folder / "results").rglob("[!.]*.*") if path.is_file())
    return {path.relative_to(folder) for path in found}


def without_time(path: Path) -> xr.Dataset:
    """All of a file but the seconds it took."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load().drop_vars("wall_seconds", errors="ignore")
    dataset.attrs.pop("wall_seconds", None)
    return dataset
