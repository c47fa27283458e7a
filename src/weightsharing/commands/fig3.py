"""fig3: draw figure 3."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.fig3.plot import draw
from weightsharing.figures.style import save
from weightsharing.files import read_dataset, read_tasks
from weightsharing.model.tasks import label_kernels


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, nargs="+", help="figure; each ending names a format")
    parser.add_argument(
        "--task", type=Path, required=True, help="task of the strong signal, NetCDF"
    )
    parser.add_argument("--measures", type=Path, nargs="+", required=True, help="NetCDF files")


def execute(options: argparse.Namespace) -> None:
    """Read the measures and draw them."""
    (task,) = read_tasks(options.task)
    figure = draw(
        task,
        label_kernels(task),
        [read_dataset(path, "measures") for path in options.measures],
    )
    save(figure, *options.output)
