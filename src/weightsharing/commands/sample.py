"""sample: train the networks of a run."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from weightsharing.errors import FileError
from weightsharing.records import (
    DRAW_AXES,
    KERNEL_AXES,
    SPECTRUM_AXES,
    Array,
    Run,
    SamplerSettings,
    kernel_matrix,
)
from weightsharing.sampling.chain import Progress, Samples, sample
from weightsharing.storage import read_dataset, read_record, read_task, write_dataset

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
    run = read_record(options.run, Run)
    task = read_task(options.task)
    started = time.monotonic()
    samples = sample(
        run,
        task,
        checkpoint=options.checkpoint,
        checkpoint_seconds=options.checkpoint_seconds,
        start_kernel=start_kernel(run.sampler, options.theory),
        progress=progress(run.id),
    )
    dataset = samples_dataset(samples, run.sampler)
    dataset.attrs["wall_seconds"] = time.monotonic() - started
    write_dataset(dataset, options.output, "samples", run)
    if options.checkpoint is not None:
        options.checkpoint.unlink(missing_ok=True)


def start_kernel(sampler: SamplerSettings, theory: Path | None) -> Array | None:
    """The kernel that the first activities are drawn from; None for a start from the prior."""
    if sampler.start == "prior":
        return None
    if theory is None:
        raise FileError(f"--theory: missing; start is {sampler.start!r}, which is read from there")
    points = read_dataset(theory, "theory")
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
