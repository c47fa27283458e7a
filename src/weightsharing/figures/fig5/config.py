"""Figure 5: its section of the configuration and its runs."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weightsharing.figures.sections import ByMethod, RunBuilder
from weightsharing.model.architecture import KINDS, Architecture, Prior
from weightsharing.model.record import Count, Number, Period, Positive, Record, derived_seed
from weightsharing.model.tasks import SequenceTask, even_sets, random_sets
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run

# The family of RNNs that start untrained: how many reach the theory's phase, and nothing else.
UNTRAINED = "rnn-untrained"


class Trained(Record):
    """How the networks of figure 5 are trained."""

    dnn: ByMethod
    rnn: ByMethod


class Section(Record):
    """Generalisation of linear RNNs and DNNs from a few steps of a sequence.

    kappa, prior: the posterior. steps: T. period: of the teacher. selection: supervised sets drawn at
    random or evenly spaced. sets: random ones for each number of supervised steps; the same for all
    networks. shown: numbers of supervised steps of the cells of panels c and d. trained, exact: the
    samplers. untrained: that of RNNs for the sets of these cells that start at the prior.
    """

    kappa: Positive
    prior: Prior
    steps: Annotated[int, Field(ge=3, le=30), Number]
    period: Period
    selection: Literal["random", "even"]
    sets: Annotated[int, Field(ge=1, le=100), Number]
    shown: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]
    trained: Trained
    untrained: ByMethod
    exact: ExactSettings

    @model_validator(mode="after")
    def _untrained_start_at_the_prior(self) -> Self:
        if self.untrained.start != "prior":
            raise ValueError(f"untrained.start: got {self.untrained.start!r}, must be 'prior'")
        return self

    @model_validator(mode="after")
    def _shown_exist(self) -> Self:
        if max(self.shown) > self.steps or len(set(self.shown)) < len(self.shown):
            raise ValueError(
                f"shown: got {list(self.shown)}, want different numbers of supervised steps from 1 to "
                f"T = {self.steps}"
            )
        return self


def runs(section: Section, build: RunBuilder) -> list[Run]:
    """For DNN and RNN a family of supervised sets, by each of the two samplers."""
    sets = even_sets(section.steps)
    if section.selection == "random":
        seed = derived_seed(build.seed, f"{build.figure}/sets")
        sets = random_sets(section.steps, section.sets, seed)
    task = SequenceTask(period=section.period, sets=sets)
    networks = {
        kind: Architecture(kind=kind, steps=section.steps, prior=section.prior) for kind in KINDS
    }
    drawn = tuple(times for times in sets if len(times) in section.shown)
    of_cells = SequenceTask(period=section.period, sets=drawn)
    runs = [
        build("untrained", UNTRAINED, networks["rnn"], section.kappa, of_cells, section.untrained)
    ]
    for kind, network in networks.items():
        trained = getattr(section.trained, kind)
        runs += [
            build(f"trained.{kind}", kind, network, section.kappa, task, trained),
            build("exact", f"{kind}-exact", network, section.kappa, task, section.exact),
        ]
    return runs
