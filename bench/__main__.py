"""``python -m bench``: measure what steps, effective samples and solutions cost, side by side."""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, astuple
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from bench import efficiency, roofline, solvers, steps
from bench.clock import seconds
from bench.plot import draw
from weightsharing.figures.style import save
from weightsharing.files import replacing
from weightsharing.model.architecture import KINDS
from weightsharing.origin import VERSION, git_commit
from weightsharing.sampling.device import find_device

log = logging.getLogger(__name__)

PARTS = ("steps", "efficiency", "theory")


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("output", type=Path, help="measurements, NetCDF")
    parser.add_argument("--plot", type=Path, help="figure; its ending names the format")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="default: all")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 2048, 4096], help="of steps")
    parser.add_argument("--width", type=int, default=2048, help="of effective samples")
    parser.add_argument("--patterns", type=int, nargs="+", default=[1, 4, 16], help="of solutions")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write and draw."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(words)
    torch.set_num_threads(options.threads)
    # Some containers turn TF32 on, which rounds to three digits.
    torch.set_float32_matmul_precision("highest")
    device = find_device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    measured = xr.Dataset(
        attrs={
            "device": f"{name or platform.machine()}, {options.threads} threads",
            "torch": str(torch.__version__),
            "weightsharing_version": VERSION,
            "git_commit": git_commit(),
        }
    )
    log.info("%s, PyTorch %s", measured.attrs["device"], measured.attrs["torch"])
    if "steps" in options.parts:
        measured = measured.merge(_steps(options.widths, device))
        measured = measured.merge(_underdamped(options.widths))
    if "efficiency" in options.parts:
        measured = measured.merge(_efficiency(options.width))
    if "theory" in options.parts:
        measured = measured.merge(_theory(options.patterns))
    with replacing(options.output) as temporary:
        measured.to_netcdf(temporary, engine="h5netcdf")
    if options.plot is not None:
        save(draw(measured), options.plot)


def _steps(widths: list[int], device: torch.device) -> xr.Dataset:
    """Seconds of a step of SGLD per chain, by each implementation and by the roofline."""
    ceilings = roofline.measure_ceilings(device)
    log.info(
        "ceilings: %.3g bytes/s, %.3g operations/s, %.3g normal deviates/s", *astuple(ceilings)
    )
    implementations = steps.implementations(device)
    coordinates = {"network": list(KINDS), "width": widths, "implementation": list(implementations)}
    times = np.full((len(KINDS), len(widths), len(implementations)), np.nan)
    least = np.empty(times.shape[:2])
    for (i, kind), (j, width) in product(enumerate(KINDS), enumerate(widths)):
        architecture = steps.benchmark_run(kind, width).architecture
        work = roofline.step_work(architecture, width, steps.PATTERNS, chains=1)
        least[i, j] = work.least_seconds(ceilings)
        for k, (name, build) in enumerate(implementations.items()):
            try:
                elapsed = seconds(build(kind, width, device), device)
            except ImportError as error:
                log.info("%s: not installed (%s)", name, error.name)
                continue
            times[i, j, k] = elapsed / steps.CHAINS.get(name, 1)
            log.info(
                "%s N = %d, %s: %.3g ms, %.2g of the roofline, %.2f times weightsharing",
                kind, width, name, 1e3 * times[i, j, k], least[i, j] / times[i, j, k],
                times[i, j, k] / times[i, j, 0],
            )  # fmt: skip
    rates = {f"{name}_per_second": rate for name, rate in asdict(ceilings).items()}
    axes = tuple(coordinates)
    variables = {"step_seconds": (axes, times), "roofline_seconds": (axes[:2], least)}
    return xr.Dataset(variables, coordinates).assign(rates)


def _underdamped(widths: list[int]) -> xr.Dataset:
    """Seconds of an underdamped step per chain on a CPU, compiled and in PyTorch."""
    coordinates = {"network": list(KINDS), "width": widths, "language": ["compiled", "PyTorch"]}
    times = np.empty((len(KINDS), len(widths), 2))
    for (i, kind), (j, width) in product(enumerate(KINDS), enumerate(widths)):
        for k, in_pytorch in enumerate((False, True)):
            step = steps.underdamped(kind, width, in_pytorch)
            times[i, j, k] = seconds(step, torch.device("cpu")) / steps.BATCH
        log.info(
            "%s N = %d, underdamped, CPU: %.3g ms compiled, %.3g ms in PyTorch, %.2f times",
            kind, width, *(1e3 * times[i, j]), times[i, j, 1] / times[i, j, 0],
        )  # fmt: skip
    return xr.Dataset({"underdamped_seconds": (tuple(coordinates), times)}, coordinates)


def _efficiency(width: int) -> xr.Dataset:
    """Effective samples of |m| per second by each sampler at this width."""
    rows = pd.DataFrame({name: efficiency.measure(name, width) for name in efficiency.SAMPLERS}).T
    rates = rows["effective_samples_per_second"]
    for name, rate in rates.items():
        log.info(
            "%s at N = %d: %.3g effective samples of |m| per second, %.3g times SGLD, "
            "bias %.1f standard errors",
            name, width, rate, rate / rates.iloc[0], rows["sampler_bias"][name],
        )  # fmt: skip
    measured: xr.Dataset = rows.rename_axis("sampler").to_xarray()
    return measured.assign_coords(sampler_width=width)


def _theory(patterns: list[int]) -> xr.Dataset:
    """Seconds of the linear theory against T P, and of the nonlinear theory of figure 2."""
    rows = pd.DataFrame({solvers.STEPS * number: solvers.measure(number) for number in patterns}).T
    for size, row in rows.iterrows():
        log.info(
            "theory, T P = %d: %.3g s for a minimum, %.3g s for all stationary points; "
            "gradient descent %.3g s to a gradient of %.1e", size, *row,
        )  # fmt: skip
    elapsed, solution = solvers.measure_nonlinear()
    log.info(
        "nonlinear theory of figure 2: %.3g s, S = %.5f, standard error %.1e, largest of Phi %.1e",
        elapsed, solution.action, solution.action_error, solution.phi_error.max(),
    )  # fmt: skip
    measured: xr.Dataset = rows.rename_axis("size").to_xarray()
    return measured.assign(nonlinear_seconds=elapsed, nonlinear_action_error=solution.action_error)


if __name__ == "__main__":
    main()
