"""The activation functions phi. All that the code knows of one stands in this file.

A new one needs its name in ``ActivationName``, a record in ``ACTIVATIONS`` and a branch in the two scalar
functions, which the compiled step inlines.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import special

ActivationName = Literal["linear", "erf", "tanh", "relu"]

# A NumPy array or a PyTorch tensor.
Values = Any

LINEAR, ERF, TANH, RELU = range(4)
# sqrt(pi)/2 gives erf the slope 1 at 0.
ERF_SCALE = 0.5 * math.sqrt(math.pi)


@dataclass(frozen=True)
class Activation:
    """One activation function, elementwise, of a NumPy array or a PyTorch tensor.

    phi: phi(h). slope: phi'(h). odd: whether phi(-h) = -phi(h), which the sign symmetry needs (THEORY 4).
    code: number of the function in ``scalar_phi`` and ``scalar_slope``.
    """

    phi: Callable[[Values], Values]
    slope: Callable[[Values], Values]
    odd: bool
    code: int


def _functions(values: Values) -> Any:  # noqa: ANN401
    """The library of elementwise functions for these values."""
    return _NumPy if isinstance(values, np.ndarray) else sys.modules["torch"]


class _NumPy:
    """NumPy's and SciPy's functions by the names that PyTorch has for them."""

    erf, exp, tanh, ones_like = special.erf, np.exp, np.tanh, np.ones_like


ACTIVATIONS: dict[ActivationName, Activation] = {
    "linear": Activation(lambda h: h, lambda h: _functions(h).ones_like(h), odd=True, code=LINEAR),
    "erf": Activation(
        lambda h: _functions(h).erf(ERF_SCALE * h),
        lambda h: _functions(h).exp(-0.25 * math.pi * h**2),
        odd=True,
        code=ERF,
    ),
    "tanh": Activation(
        lambda h: _functions(h).tanh(h),
        lambda h: 1.0 - _functions(h).tanh(h) ** 2,
        odd=True,
        code=TANH,
    ),
    "relu": Activation(
        lambda h: h.clip(0.0, None),
        lambda h: (h > 0) * _functions(h).ones_like(h),
        odd=False,
        code=RELU,
    ),
}


def scalar_phi(code: int, h: float) -> float:
    """phi(h) of one number."""
    if code == ERF:
        return math.erf(ERF_SCALE * h)
    if code == TANH:
        return math.tanh(h)
    return max(h, 0.0) if code == RELU else h


def scalar_slope(code: int, h: float, phi: float) -> float:
    """phi'(h) of one number, given phi(h)."""
    if code == ERF:
        return math.exp(-0.25 * math.pi * h**2)
    if code == TANH:
        return 1.0 - phi**2
    return 1.0 if code == LINEAR or h > 0.0 else 0.0
