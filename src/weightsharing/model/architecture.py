"""What a network is: its kind, activation, number of steps and prior (THEORY 1)."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Field

from weightsharing.model.activations import ACTIVATIONS, ActivationName
from weightsharing.model.record import Number, Positive, Record

# Far beyond what memory allows.
MOST_STEPS = 10_000
# Largest dimension T P of the single-neuron integral of the nonlinear theory. Beyond it the importance
# weights degenerate.
LARGEST_INTEGRAL = 20
# An array or a tensor.
Values = TypeVar("Values", bound=Any)
Kind = Literal["rnn", "dnn"]
KINDS: tuple[Kind, ...] = ("dnn", "rnn")


class Prior(Record):
    """Prior variances: W_ij ~ N(0, w/N), U_ia ~ N(0, u), v_i ~ N(0, v) (THEORY 1)."""

    w: Positive
    u: Positive
    v: Positive

    def variances(self, width: int) -> tuple[float, float, float]:
        """The variances of the entries of W, U and v at N = width: w/N, u and v."""
        return self.w / width, self.u, self.v


class Architecture(Record):
    """A network unrolled over ``steps`` hidden steps t = 0..T-1 (THEORY 1).

    kind: "rnn" shares one recurrent matrix W over all steps, "dnn" has an independent one for each.
    activation: name of a record of ``model.activations``.
    """

    kind: Kind
    activation: ActivationName = "linear"
    steps: Annotated[int, Field(ge=2, le=MOST_STEPS), Number]
    prior: Prior = Prior(w=1.0, u=1.0, v=1.0)

    def phi(self, pre: Values) -> Values:
        """The activation function, elementwise."""
        return cast(Values, ACTIVATIONS[self.activation].phi(pre))

    def slope(self, pre: Values) -> Values:
        """The slope of the activation function, elementwise."""
        return cast(Values, ACTIVATIONS[self.activation].slope(pre))

    @property
    def weight_matrices(self) -> int:
        """Number of independent recurrent matrices: 1 (RNN) or T - 1 (DNN)."""
        return 1 if self.kind == "rnn" else self.steps - 1


def prior_curvature(architecture: Architecture, kappa: float) -> float:
    """Largest curvature of a linear network's energy at the prior, in units of the prior variances.

    1 + (T + 1) v u w^(T-1) / kappa for one unit input at t = 0 read out at T (THEORY 2). Each of U, v and
    the T - 1 factors W adds v u w^(T-1) / kappa; weight decay adds 1. Training raises the curvature:
    this only bounds the step size from above.
    """
    prior, steps = architecture.prior, architecture.steps
    try:
        return 1.0 + (steps + 1) * prior.v * prior.u * prior.w ** (steps - 1) / kappa
    except OverflowError:
        return math.inf
