"""Figure S1: its section of the configuration, its theory scans and its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, model_validator

from weightsharing.figures.sections import ByMethod, RunBuilder
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.model.record import MOST_ITEMS, Count, Finite, Number, Positive, Record
from weightsharing.model.tasks import SignalsTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import critical_signal

# Of T = 5 and longer the transition is of first order (THEORY 5).
SecondOrder = Annotated[int, Field(ge=3, le=4), Number]
# The largest lambda of a run (``model.record.Positive``).
LARGEST = 1e9


class Section(Record):
    """Networks of finite width at the transition.

    kappa, prior: the posterior. depths: T of the networks at lambda_c; the first also has networks around
    lambda_c. offsets: (lambda / lambda_c - 1) N^(1/2) of those. around: their N, some of exact. trained,
    exact: the samplers, of several widths.
    """

    kappa: Positive
    prior: Prior
    depths: Annotated[tuple[SecondOrder, ...], Field(min_length=1, max_length=2)]
    offsets: Annotated[tuple[Finite, ...], Field(min_length=2, max_length=MOST_ITEMS)]
    around: Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    trained: Annotated[tuple[ByMethod, ...], Field(max_length=MOST_ITEMS)]
    exact: Annotated[tuple[ExactSettings, ...], Field(min_length=1, max_length=MOST_ITEMS)]

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        values = {
            "depths": self.depths,
            "offsets": [f"{offset:g}" for offset in self.offsets],
            "around": self.around,
            "trained": [sampler.width for sampler in self.trained],
            "exact": [sampler.width for sampler in self.exact],
        }
        for key, found in values.items():
            if len(set(found)) < len(found):
                raise ValueError(f"{key}: got {list(found)}, the values must differ")
        if not set(self.around) <= {sampler.width for sampler in self.exact}:
            raise ValueError(f"around: got {list(self.around)}, must be widths of exact")
        return self

    @model_validator(mode="after")
    def _signals_are_positive(self) -> Self:
        lowest, least = min(self.offsets), min(self.around)
        if lowest <= -(least**0.5):
            raise ValueError(
                f"offsets: got {lowest:g}, must be above -N^(1/2) = {-(least**0.5):.4g} of the smallest "
                "width around lambda_c, so that lambda > 0"
            )
        return self

    @model_validator(mode="after")
    def _signals_are_in_range_and_differ(self) -> Self:
        try:
            critical = [critical_signal(depth, self.prior, self.kappa) for depth in self.depths]
        except ArithmeticError as error:
            raise ValueError(
                f"prior: got {self.prior.model_dump()}, too extreme for the depths {list(self.depths)}"
            ) from error
        for width in self.around:
            signals = [ratio * critical[0] for ratio in _ratios(self.offsets, width)]
            largest = max(*signals, *(2.0 * one for one in critical))
            if min(*signals, *critical) <= 0 or largest > LARGEST:
                raise ValueError(
                    f"prior: got {self.prior.model_dump()}, with these offsets lambda would be up to "
                    f"{largest:.4g}, want 0 to {LARGEST:g}"
                )
            # Ids of runs have lambda in this format.
            if len({f"{signal:g}" for signal in signals}) < len(signals):
                raise ValueError(
                    f"offsets: got {list(self.offsets)}, lambda must differ in six digits at N = {width}"
                )
        return self


def _ratios(offsets: Sequence[float], width: int) -> list[float]:
    """lambda / lambda_c at these offsets and at lambda_c."""
    return sorted({1.0 + offset * width**-0.5 for offset in (0.0, *offsets)})


def runs(section: Section, build: RunBuilder) -> list[Run | Transition]:
    """For each depth a theory scan and a family of runs for each width and sampler."""
    runs: list[Run | Transition] = []
    for depth in section.depths:
        network = Architecture(kind="rnn", steps=depth, prior=section.prior)
        critical = critical_signal(depth, section.prior, section.kappa)
        samplers: list[tuple[str, str, SamplerSettings]] = [
            ("exact", f"depth{depth}-width{one.width}-exact", one) for one in section.exact
        ]
        if depth == section.depths[0]:
            samplers += [
                ("trained", f"depth{depth}-width{one.width}", one) for one in section.trained
            ]
        laws = set()
        for key, name, sampler in samplers:
            is_around = depth == section.depths[0] and sampler.width in section.around
            ratios = _ratios(section.offsets if key == "exact" and is_around else (), sampler.width)
            laws |= {(sampler.width, ratio) for ratio in ratios}
            task = SignalsTask(signals=tuple(ratio * critical for ratio in ratios))
            runs.append(build(key, name, network, section.kappa, task, sampler))
        runs.append(
            Transition(
                id=f"{build.figure}/depth{depth}",
                architecture=network,
                kappa=section.kappa,
                largest_signal=2.0 * critical,
                points=5,
                laws=tuple(sorted(laws)),
            )
        )
    return runs
