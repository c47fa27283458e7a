"""Figure 2: its section of the configuration and its runs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from weightsharing.figures.sections import ByMethod, RunBuilder, Steps
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.model.record import MOST_ITEMS, Count, Positive, Record
from weightsharing.model.tasks import SinusoidTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run


class Section(Record):
    """Kernels of a nonlinear RNN against its width.

    kappa, prior, activation: the posterior. steps: T of the sinusoid. trained, exact: the
    samplers, of several widths. shown: widths of the kernels drawn beside the theory.
    """

    kappa: Positive
    prior: Prior
    activation: ActivationName
    steps: Steps
    trained: Annotated[tuple[ByMethod, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    exact: Annotated[tuple[ExactSettings, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    shown: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_ITEMS)]

    @model_validator(mode="after")
    def _widths_exist(self) -> Self:
        for key, samplers in (("trained", self.trained), ("exact", self.exact)):
            names = [f"{sampler.method} at {sampler.width}" for sampler in samplers]
            if len(set(names)) < len(names):
                raise ValueError(f"{key}: got {', '.join(names)}, they must differ")
        widths = {sampler.width for sampler in (*self.trained, *self.exact)}
        if len(set(self.shown)) < len(self.shown):
            raise ValueError(f"shown: got {list(self.shown)}, the widths must differ")
        if not set(self.shown) <= widths:
            raise ValueError(f"shown: got {list(self.shown)}, must be widths of trained or exact")
        return self


def runs(section: Section, build: RunBuilder) -> list[Run]:
    """One run for each sampler and width."""
    network = Architecture(
        kind="rnn", activation=section.activation, steps=section.steps, prior=section.prior
    )
    samplers: list[tuple[str, SamplerSettings]] = [
        *(("trained", sampler) for sampler in section.trained),
        *(("exact", sampler) for sampler in section.exact),
    ]
    return [
        build(key, f"{one.method}-width{one.width}", network, section.kappa, SinusoidTask(), one)
        for key, one in samplers
    ]
