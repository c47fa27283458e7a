"""sample: train the networks of a run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from weightsharing.errors import ChainError, DeviceError, FileError, UserError
from weightsharing.files import join, read_dataset, read_record, read_tasks, split, write_dataset
from weightsharing.model.axes import DRAW_AXES, KERNEL_AXES, SPECTRUM_AXES, Array, kernel_matrix
from weightsharing.model.tasks import Task
from weightsharing.sampling.chain import (
    Member,
    Progress,
    Samples,
    find_device,
    group_size,
    sample_together,
)
from weightsharing.sampling.run import Run
from weightsharing.sampling.settings import SamplerSettings

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
    starts = start_kernels(run, options.theory)
    groups = member_groups(run, tasks, starts)
    # Finished groups are kept in their checkpoints until all are stored.
    checkpoints = [checkpoint_of(options.checkpoint, run, name) for name in groups]
    datasets = []
    with stop_signals() as stopping:
        for (name, members), checkpoint in zip(groups.items(), checkpoints, strict=True):
            started = time.monotonic()
            try:
                found = sample_together(
                    members,
                    checkpoint=checkpoint,
                    checkpoint_seconds=options.checkpoint_seconds,
                    progress=progress(name),
                    stopping=stopping,
                )
            except ChainError as error:
                raise type(error)(f"{members[error.member].run.id}: {error}") from error
            except UserError as error:
                raise type(error)(f"{name}: {error}") from error
            for samples in found:
                dataset = samples_dataset(samples, run.sampler)
                dataset.attrs["wall_seconds"] = (time.monotonic() - started) / len(found)
                datasets.append(dataset)
    write_dataset(join(datasets, run.member_names), options.output, "samples", run)
    for checkpoint in checkpoints:
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM, of a cluster's time limit, or SIGINT, of Ctrl-C, has come.

    A second one acts as if there were no first.
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


def member_groups(
    run: Run, tasks: Sequence[Task], starts: Sequence[Array | None]
) -> dict[str, list[Member]]:
    """The members that move together, by the name of their group.

    It is the member's if the group has one only, and the run's if there is one group only. Raises
    DeviceError if there is no GPU where one is wanted.
    """
    members = [Member(*each) for each in zip(run.members, tasks, starts, strict=True)]
    try:
        size = group_size(run, find_device(run.device))
    except DeviceError as error:
        raise DeviceError(f"{run.id}: {error}") from error
    groups = [members[first : first + size] for first in range(0, len(members), size)]
    named = {}
    for number, group in enumerate(groups, start=1):
        name = f"{run.id} group {number} of {len(groups)}" if len(groups) > 1 else run.id
        named[group[0].run.id if len(group) == 1 else name] = group
    return named


def checkpoint_of(path: Path | None, run: Run, group: str) -> Path | None:
    """The checkpoint of a group of members: what its name adds to the run's is added to the path."""
    if path is None:
        return None
    return path.with_name(path.stem + group.removeprefix(run.id).replace(" ", "-") + path.suffix)


def start_kernels(run: Run, theory: Path | None) -> list[Array | None]:
    """For each member the kernel of the first activities; None for a start from the prior."""
    if run.sampler.start == "prior":
        return [None] * len(run.members)
    if theory is None:
        raise FileError(
            f"--theory: missing; start is {run.sampler.start!r}, which is read from there"
        )
    return [start_kernel(run.sampler, points) for points in split(read_dataset(theory, "theory"))]


def start_kernel(sampler: SamplerSettings, points: xr.Dataset) -> Array:
    """The kernel that the first activities are drawn from, one of the stationary points."""
    chosen = 0
    if sampler.start == "disordered":
        chosen = int(np.argmin(np.abs(points["order_parameter"].to_numpy())))
    return kernel_matrix(points["kernel"].isel(point=chosen).to_numpy())


def samples_dataset(samples: Samples, sampler: SamplerSettings) -> xr.Dataset:
    """Draws as a dataset of named axes."""
    steps = samples.kernel.shape[-1]
    dataset = xr.Dataset(
        {
            "kernel": ((*DRAW_AXES, *KERNEL_AXES), samples.kernel),
            "output": ((*DRAW_AXES, "pattern", "output_time"), samples.output.swapaxes(2, 3)),
            "loss": (DRAW_AXES, samples.loss),
        },
        coords={
            "time": np.arange(steps),
            "time_": np.arange(steps),
            "output_time": np.arange(1, steps + 1),
        },
        attrs={
            "sampler": sampler.method,
            "width": sampler.width,
            "steps": sampler.burn_in_steps + sampler.draw_every * sampler.draws,
            "stiffness": samples.stiffness,
            "device": samples.device,
            "precision": str(samples.kernel.dtype),
        },
    )
    if samples.acceptance is not None:
        dataset.attrs["acceptance"] = samples.acceptance
    if samples.activation_kernel.size:
        dataset["activation_kernel"] = ((*DRAW_AXES, *KERNEL_AXES), samples.activation_kernel)
    if sampler.spectra:
        every = sampler.draws // sampler.spectra
        dataset["spectrum_draw"] = ("spectrum", np.arange(1, sampler.spectra + 1) * every - 1)
        dataset["eigenvalue"] = (SPECTRUM_AXES, samples.eigenvalues)
    if samples.weights is not None:
        recurrent, input_, readout = samples.weights
        dataset["recurrent"] = (("matrix", "unit", "unit_"), recurrent)
        dataset["input_weights"] = (("unit", "feature"), input_)
        dataset["readout"] = ("unit", readout)
    return dataset


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
