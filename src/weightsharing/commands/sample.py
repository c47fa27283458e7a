"""sample: train the networks of a run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import torch
from tqdm import tqdm

from weightsharing.errors import FileError
from weightsharing.files import join, read_dataset, read_record, read_tasks, split, write_dataset
from weightsharing.model.axes import Array
from weightsharing.sampling.chain import Progress, remove_checkpoints, sample
from weightsharing.sampling.initial import start_kernel
from weightsharing.sampling.run import Run

log = logging.getLogger(__name__)

# Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("task", type=Path, help="task, NetCDF")
    parser.add_argument("output", type=Path, help="samples, NetCDF")
    parser.add_argument("--theory", type=Path, help="needed if the run does not start at the prior")
    parser.add_argument(
        "--checkpoint", type=Path, help="file to resume from and to keep up to date"
    )
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0, help="default: 60")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")


def execute(options: argparse.Namespace) -> None:
    """Run the chains and write their draws."""
    torch.set_num_threads(options.threads)
    # TF32, which the environment of some containers turns on, rounds to three digits.
    torch.set_float32_matmul_precision("highest")
    run = read_record(options.run, Run)
    tasks = read_tasks(options.task)
    with stop_signals() as stopping:
        datasets = sample(
            run,
            tasks,
            read_starts(run, options.theory),
            checkpoint=options.checkpoint,
            checkpoint_seconds=options.checkpoint_seconds,
            progress=progress,
            stopping=stopping,
        )
    write_dataset(join(datasets, run.member_names), options.output, "samples", run)
    remove_checkpoints(run, options.checkpoint)


def read_starts(run: Run, theory: Path | None) -> list[Array | None]:
    """For each member the kernel of the first activities; None for a start from the prior."""
    if run.sampler.start == "prior":
        return [None] * len(run.members)
    if theory is None:
        raise FileError(
            f"--theory: missing; start is {run.sampler.start!r}, which is read from there"
        )
    return [
        start_kernel(run.sampler.start, points) for points in split(read_dataset(theory, "theory"))
    ]


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM, of a cluster's time limit, or SIGINT, of Ctrl-C, has come.

    A second signal acts as if there had been no first.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(received)
    finally:
        restore()


def progress(name: str) -> Progress:
    """A bar on a terminal, a line now and then elsewhere, both with rate and time left."""
    started = time.monotonic()
    first: list[int] = []
    shown = [started]
    bar = tqdm(desc=name, unit=" steps", disable=not sys.stderr.isatty())

    def show(done: int, total: int) -> None:
        if not first:
            first.append(done)
        bar.total = total
        bar.update(done - bar.n)
        now = time.monotonic()
        if done == total:
            bar.close()
        if bar.disable and (now - shown[0] > LINE_EVERY or done == total):
            shown[0] = now
            rate = (done - first[0]) / max(now - started, 1e-9)
            left = (total - done) / rate if rate > 0 else float("nan")
            log.info("%s: step %d of %d, %.0f/s, %.0f s left", name, done, total, rate, left)

    return show
