"""``python -m bench``: measure what steps, effective samples and solutions cost, side by side."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import xarray as xr

from bench import efficiency, solvers, steps
from bench.plot import draw
from weightsharing.cli import guarded
from weightsharing.figures.style import save
from weightsharing.files import replacing
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
    parser.add_argument("--width", type=int, default=2048, help="of the samplers' steps")
    parser.add_argument("--counted", type=int, default=128, help="width of effective samples")
    parser.add_argument("--signals", type=float, nargs="+", default=[2.8, 5.0], help="of these")
    parser.add_argument("--patterns", type=int, nargs="+", default=[1, 4, 16], help="of solutions")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write and draw."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse(words)
    torch.set_num_threads(options.threads)
    # The environment of some containers turns TF32 on, which rounds to three digits.
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
        measured = measured.merge(steps.measure(options.widths, device))
    if "efficiency" in options.parts:
        measured = measured.merge(
            efficiency.measure(options.width, options.counted, options.signals)
        )
    if "theory" in options.parts:
        measured = measured.merge(solvers.measure(options.patterns))
    with replacing(options.output) as temporary:
        measured.to_netcdf(temporary, engine="h5netcdf")
    if options.plot is not None:
        save(draw(measured), options.plot)


if __name__ == "__main__":
    sys.exit(guarded(main))
