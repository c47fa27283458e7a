"""The branch of the sign symmetry W -> -W that draws are compared on (THEORY 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array
from weightsharing.model.symmetry import (
    branch,
    label_direction,
    order_parameter,
    output_reflection,
    reflect_kernel,
    reflect_outputs,
    reflection,
)
from weightsharing.model.task import Task

# Above this Binder cumulant the sign symmetry counts as broken: 0 for a Gaussian, 2/3 for +-m.
BROKEN_BINDER = 1.0 / 3.0


def binder_cumulant(values: NDArray[np.floating]) -> float:
    """1 - <m^4> / (3 <m^2>^2): 0 for a Gaussian around 0, 2/3 for two narrow peaks at +-m.

    It measures whether a finite system has broken the symmetry m -> -m (Binder 1981), and is itself
    invariant under it.
    """
    return float(1.0 - np.mean(values**4) / (3.0 * np.mean(values**2) ** 2))


def estimate_binder(m: NDArray[np.floating]) -> Estimate:
    """``binder_cumulant`` of draws of m (chain, draw), with the errors of its linearisation."""
    square, fourth = np.asarray(m, dtype=np.float64) ** 2, np.asarray(m, dtype=np.float64) ** 4
    a, b = fourth.mean(), square.mean()
    slope = 2.0 * a * (square - b) / b - (fourth - a)
    return estimate(binder_cumulant(m) + slope / (3.0 * b**2))


def branch_signs(
    kernels: NDArray[np.floating], task: Task, architecture: Architecture
) -> NDArray[np.floating]:
    """-1 for each draw that W -> -W has to bring to the branch m > 0, shape (chain, draw).

    All are 1 if there is no such symmetry (THEORY 4), or if the draws have not broken it, by their
    Binder cumulant: there is one phase then, with both signs. Otherwise each draw is mapped by itself.
    The mean is then that of the posterior restricted to m > 0, however often a chain crosses.
    """
    direction = label_direction(task)
    if reflection(task, architecture) is None:
        return np.ones(kernels.shape[:2])
    if binder_cumulant(order_parameter(kernels, direction)) < BROKEN_BINDER:
        return np.ones(kernels.shape[:2])
    return branch(kernels, direction)


@dataclass(frozen=True)
class BranchDraws:
    """Draws of a run, mapped to one branch.

    signs: (chain, draw), -1 where W -> -W was applied. kernel H, activation_kernel Phi: (chain, draw,
    pattern, pattern_, time, time_); the same for linear networks. output: (chain, draw, pattern,
    output_time).
    """

    signs: Array
    kernel: NDArray[np.floating]
    activation_kernel: NDArray[np.floating]
    output: NDArray[np.floating]


def on_one_branch(samples: xr.Dataset, task: Task, architecture: Architecture) -> BranchDraws:
    """The draws in ``samples``, each on the branch that ``branch_signs`` gives it."""
    kernel = samples["kernel"].to_numpy()
    sign, signs = branch_signs(kernel, task, architecture), reflection(task, architecture)
    reflected = reflect_kernel(kernel, sign, signs)
    activated = reflected
    if architecture.activation != "linear":
        activated = reflect_kernel(samples["activation_kernel"].to_numpy(), sign, signs)
    turned = output_reflection(task, architecture)
    output = reflect_outputs(samples["output"].to_numpy(), sign, turned)
    return BranchDraws(sign, reflected, activated, output)
