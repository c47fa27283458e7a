"""``python -m bench``: measure what steps, effective samples and solutions cost, side by side."""

from __future__ import annotations

import argparse
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
    # TF32, which the environment of some containers turns on, rounds to three digits.
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
    """Seconds of a step of SGLD per chain by each implementation, and of the roofline."""
    ceilings = roofline.measure_ceilings(device)
    log.info(
        "ceilings: %.3g bytes/s, %.3g operations/s, %.3g normal deviates/s",
        ceilings.bytes,
        ceilings.operations,
        ceilings.deviates,
    )
    implementations = steps.implementations(device)
    shape = (len(KINDS), len(widths), len(implementations))
    found = np.full(shape, np.nan)
    least = np.empty(shape[:2])
    for i, kind in enumerate(KINDS):
        for j, width in enumerate(widths):
            architecture = steps.benchmark_run(kind, width).architecture
            work = roofline.step_work(architecture, width, steps.PATTERNS, chains=1)
            least[i, j] = work.least_seconds(ceilings)
            for k, (name, build) in enumerate(implementations.items()):
                try:
                    once = seconds(build(kind, width, device), device)
                except ImportError as error:
                    log.info("%s: not installed (%s)", name, error.name)
                    continue
                found[i, j, k] = once / steps.CHAINS.get(name, 1)
                log.info(
                    "%s N = %d, %s: %.3g ms, %.2g of the roofline, %.2f times weightsharing",
                    kind, width, name, 1e3 * found[i, j, k], least[i, j] / found[i, j, k],
                    found[i, j, k] / found[i, j, 0],
                )  # fmt: skip
    axes = ("network", "width", "implementation")
    return xr.Dataset(
        {
            "step_seconds": (axes, found),
            "roofline_seconds": (axes[:2], least),
            "bytes_per_second": ((), ceilings.bytes),
            "operations_per_second": ((), ceilings.operations),
            "deviates_per_second": ((), ceilings.deviates),
        },
        coords={
            "network": list(KINDS),
            "width": widths,
            "implementation": list(implementations),
        },
    )


def _underdamped(widths: list[int]) -> xr.Dataset:
    """Seconds of an underdamped step per chain on a CPU, compiled and in PyTorch."""
    cpu = torch.device("cpu")
    found = np.array(
        [
            [
                [
                    seconds(steps.underdamped(kind, width, in_pytorch), cpu) / steps.BATCH
                    for in_pytorch in (False, True)
                ]
                for width in widths
            ]
            for kind in KINDS
        ]
    )
    for kind, of_kind in zip(KINDS, found, strict=True):
        for width, (ours, theirs) in zip(widths, of_kind, strict=True):
            log.info(
                "%s N = %d, underdamped, CPU: %.3g ms compiled, %.3g ms in PyTorch, %.2f times",
                kind, width, 1e3 * ours, 1e3 * theirs, theirs / ours,
            )  # fmt: skip
    return xr.Dataset(
        {"underdamped_seconds": (("network", "width", "language"), found)},
        coords={"network": list(KINDS), "width": widths, "language": ["compiled", "PyTorch"]},
    )


def _efficiency(width: int) -> xr.Dataset:
    """Effective samples of |m| per second by each sampler at this width."""
    names = list(efficiency.SAMPLERS)
    found = [efficiency.measure(name, width) for name in names]
    for name, one in zip(names, found, strict=True):
        log.info(
            "%s at N = %d: %.3g effective samples of |m| per second, %.3g times SGLD, bias %.1f standard "
            "errors", name, width, one.per_second, one.per_second / found[0].per_second, one.bias,
        )  # fmt: skip
    return xr.Dataset(
        {
            "effective_samples_per_second": ("sampler", [one.per_second for one in found]),
            "effective_samples_per_step": ("sampler", [one.per_step for one in found]),
            "sampler_step_seconds": ("sampler", [one.step_seconds for one in found]),
            "sampler_bias": ("sampler", [one.bias for one in found]),
        },
        coords={"sampler": names, "sampler_width": width},
    )


def _theory(patterns: list[int]) -> xr.Dataset:
    """Seconds of the linear theory against T P, and of figure 2's nonlinear one."""
    sizes = [solvers.STEPS * number for number in patterns]
    found = [solvers.measure(number) for number in patterns]
    for size, one in zip(sizes, found, strict=True):
        log.info(
            "theory, T P = %d: %.3g s for a minimum, %.3g s for all stationary points; gradient descent "
            "%.3g s to a gradient of %.1e",
            size, one.minimum, one.all_points, one.descent, one.descent_norm,
        )  # fmt: skip
    nonlinear_seconds, solution = solvers.measure_nonlinear()
    log.info(
        "nonlinear theory of figure 2: %.3g s, S = %.5f, standard error %.1e, largest of Phi %.1e",
        nonlinear_seconds, solution.action, solution.action_error, solution.phi_error.max(),
    )  # fmt: skip
    return xr.Dataset(
        {
            "nonlinear_seconds": ((), nonlinear_seconds),
            "nonlinear_action_error": ((), solution.action_error),
            "minimum_seconds": ("size", [one.minimum for one in found]),
            "all_points_seconds": ("size", [one.all_points for one in found]),
            "descent_seconds": ("size", [one.descent for one in found]),
            "descent_norm": ("size", [one.descent_norm for one in found]),
        },
        coords={"size": sizes},
    )


if __name__ == "__main__":
    main()
