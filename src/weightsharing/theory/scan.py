"""The settings of a theory scan over the signal strength at one depth (THEORY 5, figure 4).

``theory.curves`` computes it. The record has a module of its own, so that a change of the theory does
not resolve all runs again.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weightsharing.model.architecture import Architecture
from weightsharing.model.record import MOST_ITEMS, Count, Number, Positive, Record

# Shorter RNNs have no transition.
FEWEST_STEPS = 3
NO_TRANSITION = f"the transition is that of linear RNNs of {FEWEST_STEPS} steps or more"


def has_transition(network: Architecture) -> bool:
    """Whether a network has the phase transition of THEORY 5: a linear RNN that is long enough."""
    linear_rnn = network.kind == "rnn" and network.activation == "linear"
    return linear_rnn and network.steps >= FEWEST_STEPS


class Transition(Record):
    """A theory scan over lambda for one depth of the linear RNN (THEORY 5, figure 4).

    largest_signal: the branches are followed up to this lambda, on ``points`` values.
    landau_ratios: lambda / lambda_c of the curves F(m). width: where given, the scan also predicts
    the mean of |m| in networks of this width. laws: pairs of N and lambda / lambda_c at which it
    predicts the law of |m|.
    """

    kind: Literal["transition"] = "transition"
    id: str
    architecture: Architecture
    kappa: Positive
    largest_signal: Positive
    points: Annotated[int, Field(ge=5, le=10_000), Number]
    landau_ratios: tuple[Positive, ...] = ()
    width: Count | None = None
    laws: Annotated[tuple[tuple[Count, Positive], ...], Field(max_length=MOST_ITEMS)] = ()

    @model_validator(mode="after")
    def _has_transition(self) -> Self:
        if not has_transition(self.architecture):
            raise ValueError(f"architecture: {NO_TRANSITION}")
        return self
