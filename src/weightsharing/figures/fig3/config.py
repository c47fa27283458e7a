"""Figure 3: its section of the configuration and its runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from weightsharing.figures.sections import ByMethod, RunBuilder, Steps
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import KINDS, Architecture, Prior
from weightsharing.model.record import MOST_ITEMS, Positive, Record, number
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run


def _no_truth_value(value: object) -> object:
    """Python takes true for 1. Raises PydanticCustomError for it."""
    if isinstance(value, bool):
        raise PydanticCustomError("sign", "input should be -1 or 1")
    return number(value)


Sign = Annotated[Literal[-1, 1], BeforeValidator(_no_truth_value)]


class Cells(Record):
    """How the networks of the four cells of figure 3 are trained."""

    dnn_weak: ByMethod
    dnn_strong: ByMethod
    rnn_weak: ByMethod
    rnn_strong: ByMethod


class Section(Record):
    """Kernels and spectra of DNN and RNN for a weak and a strong learning signal.

    kappa, prior, activation: the posterior. steps: T. signs: of the labels, one for each pattern.
    weak, strong: sizes of the labels; lambda is P times their square. exact: of all four cells.
    """

    kappa: Positive
    prior: Prior
    activation: ActivationName
    steps: Steps
    signs: Annotated[tuple[Sign, ...], Field(min_length=2, max_length=MOST_ITEMS)]
    weak: Positive
    strong: Positive
    samplers: Cells
    exact: ExactSettings

    @model_validator(mode="after")
    def _weak_is_weaker(self) -> Self:
        if self.weak >= self.strong:
            raise ValueError(f"weak: got {self.weak:g}, must be below strong = {self.strong:g}")
        return self


def runs(section: Section, build: RunBuilder) -> list[Run]:
    """A DNN and an RNN for each of the two signals, by both samplers."""
    runs = []
    for kind in KINDS:
        network = Architecture(
            kind=kind, activation=section.activation, steps=section.steps, prior=section.prior
        )
        for strength, size in (("weak", section.weak), ("strong", section.strong)):
            task = EndpointTask(labels=tuple(sign * size for sign in section.signs))
            cell = f"{kind}_{strength}"
            trained, name = getattr(section.samplers, cell), f"{kind}-{strength}"
            runs += [
                build(f"samplers.{cell}", name, network, section.kappa, task, trained),
                build("exact", f"{name}-exact", network, section.kappa, task, section.exact),
            ]
    return runs
