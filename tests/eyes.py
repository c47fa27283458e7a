"""Colours as readers with deficient colour vision see them, and those that a figure shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle

from weightsharing.figures.style import SIGNAL_COLOURS
from weightsharing.model.axes import Array

# Machado, Oliveira, Fernandes, IEEE Trans. Vis. Comput. Graph. 15, 1291 (2009), severity 1, linear RGB.
DEFICIENCIES: dict[str, list[list[float]]] = {
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
# CIELAB distances: 2.3 is just noticeable side by side. That of pure red and green to a deutan eye is 24.
LEAST_DISTANCE = 15.0


def lab(colour: Any, deficiency: str) -> Array:
    """CIELAB of a colour as an eye with this deficiency sees it, white D65."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(DEFICIENCIES[deficiency]) @ linear, 0.0, 1.0)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    return np.array([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)])


def distance(one: Any, other: Any) -> float:
    """The least distance between two colours to any eye."""
    return min(float(np.linalg.norm(lab(one, eye) - lab(other, eye))) for eye in DEFICIENCIES)


def shown(axes: Axes) -> set[str]:
    """Colours of lines and symbols of axes: not of continuous scales, and not greys, which are guides."""
    found = set()
    for line in axes.lines:
        found.add(to_hex(line.get_color()))
        if not _is_open(line):
            found.add(to_hex(line.get_markerfacecolor()))
    scale = {to_hex(colour) for colour in SIGNAL_COLOURS(np.linspace(0.0, 1.0, 256))}
    return {
        colour for colour in found if len(set(to_rgb(colour))) > 1 or colour == "#000000"
    } - scale


def _is_open(line: Line2D) -> bool:
    drawn = (
        str(line.get_marker()) not in ("None", "", " ")
        and MarkerStyle(line.get_marker()).is_filled()
    )
    return not drawn or str(line.get_markerfacecolor()) == "none"
