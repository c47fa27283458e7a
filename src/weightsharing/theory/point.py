"""A stationary point of the action, linear or nonlinear, and the judgement of it (THEORY 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from weightsharing.model.axes import Array

AnyPoint = TypeVar("AnyPoint")

# A point is stationary if the norm of its whitened gradient is smaller than this; S is of order 1.
GRADIENT_TOLERANCE = 1e-9
# With a smaller effective fraction of points, neither moments nor standard errors are reliable.
LOWEST_FRACTION = 0.1


def _no_error() -> Array:
    return np.zeros(())


@dataclass(frozen=True)
class StationaryPoint:
    """A stationary point of S in the kernel, at the maximum over its conjugate (THEORY 3, 9).

    kernel: G (linear) or F (nonlinear), in the reachable directions, (k, k). h, phi, q: the kernels
    H and Phi and the conjugate Q, (T P, T P) with index t P + p; Q is 0 in unreachable directions,
    and Phi = H in a linear network. action: S. gradient_norm: largest Frobenius norm of a whitened
    gradient. lowest_curvature: lowest eigenvalue of the whitened Hessian of max_Q S.

    The rest belongs to the quadrature of the nonlinear theory. *_error: standard errors over
    independent scramblings. fraction: smallest effective fraction of the quadrature points.
    """

    kernel: Array
    h: Array
    phi: Array
    q: Array
    action: float
    gradient_norm: float
    lowest_curvature: float
    h_error: Array = field(default_factory=_no_error)
    phi_error: Array = field(default_factory=_no_error)
    action_error: float = 0.0
    fraction: float = 1.0

    @property
    def converged(self) -> bool:
        """Whether all gradients vanish to ``GRADIENT_TOLERANCE`` and enough points have weight."""
        return self.gradient_norm < GRADIENT_TOLERANCE and self.fraction > LOWEST_FRACTION

    @property
    def is_minimum(self) -> bool:
        """Whether max_Q S is minimal in the kernel."""
        return self.lowest_curvature > 0.0

    @property
    def faults(self) -> list[str]:
        """Reasons not to use the point as a solution, in words; none for a converged minimum."""
        faults = []
        if not self.gradient_norm < GRADIENT_TOLERANCE:
            faults.append(f"gradient norm {self.gradient_norm:.1e}")
        if not self.fraction > LOWEST_FRACTION:
            faults.append(f"effective fraction of the quadrature points {self.fraction:.2f}")
        if not self.is_minimum:
            faults.append(f"not a minimum, lowest curvature {self.lowest_curvature:.1e}")
        return faults


def by_action(points: Iterable[StationaryPoint]) -> list[StationaryPoint]:
    """The points by increasing action, converged ones first."""
    return sorted(points, key=lambda point: (not point.converged, point.action))


def distinct(
    points: Iterable[AnyPoint], kernel_of: Callable[[AnyPoint], Array], tolerance: float
) -> list[AnyPoint]:
    """The points whose kernels differ from all earlier ones by more than ``tolerance``, relative."""
    kept: list[AnyPoint] = []
    kernels: list[Array] = []
    for point in points:
        kernel = kernel_of(point)
        if all(
            np.linalg.norm(kernel - other) > tolerance * np.linalg.norm(other) for other in kernels
        ):
            kept.append(point)
            kernels.append(kernel)
    return kept
