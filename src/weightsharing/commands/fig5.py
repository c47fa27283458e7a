"""fig5: draw figure 5."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from weightsharing.figures.fig5.plot import draw
from weightsharing.figures.style import save
from weightsharing.files import read_dataset, read_tasks, split
from weightsharing.model.tasks import rotation_teacher


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, nargs="+", help="figure; each ending names a format")
    parser.add_argument("--task", type=Path, required=True, help="tasks of all sets, NetCDF")
    parser.add_argument("--period", type=float, required=True, help="of the teacher")
    parser.add_argument("--measures", type=Path, nargs="+", required=True, help="NetCDF files")
    parser.add_argument(
        "--shown", type=int, nargs="+", required=True, help="numbers of supervised steps"
    )


def execute(options: argparse.Namespace) -> None:
    """Read the measures and draw them."""
    recurrent, _, _ = rotation_teacher(options.period)
    figure = draw(
        read_tasks(options.task)[0],
        np.linalg.eigvals(recurrent).astype(np.complex128),
        [split(read_dataset(path, "measures")) for path in options.measures],
        options.shown,
    )
    save(figure, *options.output)
