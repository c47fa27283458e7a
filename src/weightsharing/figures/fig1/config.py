"""Figure 1: its section of the configuration and its runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weightsharing.figures.sections import Depth, RunBuilder
from weightsharing.model.architecture import KINDS, Architecture, Prior
from weightsharing.model.record import Count, Number, Period, Positive, Record
from weightsharing.model.tasks import AnyTask, SignalsTask, SinusoidTask
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run
from weightsharing.theory.transition import critical_signal

Part = Literal["endpoint", "sequence"]


class Endpoint(Record):
    """The task of panel b: one target at t = T.

    kappa, prior: the posterior. steps: T. below, above: lambda / lambda_c of RNNs.
    """

    kappa: Positive
    prior: Prior
    steps: Depth
    below: Annotated[float, Field(gt=0.0, lt=1.0), Number]
    above: Annotated[float, Field(gt=1.0, le=100.0), Number]

    @property
    def signals(self) -> tuple[float, float]:
        """The two lambdas."""
        critical = critical_signal(self.steps, self.prior, self.kappa)
        return self.below * critical, self.above * critical


class Sequence(Record):
    """The task of panel c: a sinusoid that is supervised at some times.

    kappa, prior: the posterior. steps: T. period: in steps. supervised: output times.
    """

    kappa: Positive
    prior: Prior
    steps: Depth
    period: Period
    supervised: Annotated[tuple[Count, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _some_are_free(self) -> Self:
        if len(set(self.supervised)) >= self.steps:
            raise ValueError(
                f"supervised: got {list(self.supervised)}, must leave one of the {self.steps} steps free"
            )
        return self


class Section(Record):
    """Graphical abstract: kernels below and above the transition, and outputs between supervised steps.

    endpoint, sequence: the tasks of panels b and c. exact: the sampler.
    """

    endpoint: Endpoint
    sequence: Sequence
    exact: ExactSettings


def runs(section: Section, build: RunBuilder) -> list[Run]:
    """DNN and RNN on both tasks, by the exact sampler."""
    endpoint, sequence = section.endpoint, section.sequence
    tasks: dict[Part, AnyTask] = {
        "endpoint": SignalsTask(signals=endpoint.signals),
        "sequence": SinusoidTask(period=sequence.period, supervised=sequence.supervised),
    }
    runs = []
    for name, task in tasks.items():
        part = endpoint if name == "endpoint" else sequence
        for kind in KINDS:
            network = Architecture(kind=kind, steps=part.steps, prior=part.prior)
            runs.append(build("exact", f"{kind}-{name}", network, part.kappa, task, section.exact))
    return runs
