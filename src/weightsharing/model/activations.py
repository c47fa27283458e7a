"""The activation functions phi. All that the code knows of one stands in this file.

A new one needs its name in ``ActivationName`` and a record in ``ACTIVATIONS``. With ``scalar``, the
compiled step on a CPU (``sampling.backends.compiled``) knows it too; without, PyTorch makes its steps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
from scipy import special

ActivationName = Literal["linear", "erf", "tanh", "relu"]

# A NumPy array or a PyTorch tensor.
Values = Any

# sqrt(pi)/2 gives erf the slope 1 at 0.
ERF_SCALE = 0.5 * math.sqrt(math.pi)


@dataclass(frozen=True)
class Activation:
    """One activation function, elementwise, of a NumPy array or a PyTorch tensor.

    phi: phi(h). slope: phi'(h). odd: whether phi(-h) = -phi(h), which the sign symmetry needs (THEORY 4).
    scalar: phi and phi' of one number, in functions of ``math`` that Numba compiles.
    """

    phi: Callable[[Values], Values]
    slope: Callable[[Values], Values]
    odd: bool
    scalar: tuple[Callable[[float], float], Callable[[float], float]] | None = None


# The functions of NumPy and SciPy by the names that PyTorch has for them.
_NUMPY = SimpleNamespace(**vars(np) | {"erf": special.erf})


def _functions(values: Values) -> Any:  # noqa: ANN401
    """The library of elementwise functions for these values."""
    return _NUMPY if isinstance(values, np.ndarray) else sys.modules["torch"]


ACTIVATIONS: dict[ActivationName, Activation] = {
    "linear": Activation(lambda h: h, lambda h: _functions(h).ones_like(h), odd=True),
    "erf": Activation(
        lambda h: _functions(h).erf(ERF_SCALE * h),
        lambda h: _functions(h).exp(-0.25 * math.pi * h**2),
        odd=True,
    ),
    "tanh": Activation(
        lambda h: _functions(h).tanh(h),
        lambda h: 1.0 - _functions(h).tanh(h) ** 2,
        odd=True,
    ),
    "relu": Activation(
        lambda h: h.clip(0.0, None),
        lambda h: (h > 0) * _functions(h).ones_like(h),
        odd=False,
    ),
}
