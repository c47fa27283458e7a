"""Figure 4: its section of the configuration, its theory scans and its runs."""

from __future__ import annotations

from itertools import product
from typing import Annotated, Self

from pydantic import Field, model_validator

from weightsharing.figures.sections import ByMethod, Depth, RunBuilder
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.record import MOST_ITEMS, Number, Positive, Record
from weightsharing.model.tasks import SignalsTask
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import critical_signal


class Section(Record):
    """Order parameter against signal strength of linear RNNs, and the Landau curve.

    kappa, prior: the posterior. depths: T of the theory curves. largest_signal: where the
    curves end. curve_points: points of the finite-width prediction. landau_ratios:
    lambda / lambda_c of panel b. sampled_depth: T of the trained networks. lambdas: where they are
    trained, by both samplers, besides those of panel b. other_ratios: lambda / lambda_c of RNNs of the
    other depths, and of DNNs of the sampled depth, by the exact sampler.
    """

    kappa: Positive
    prior: Prior
    depths: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    largest_signal: Positive
    curve_points: Annotated[int, Field(ge=5, le=10_000), Number]
    landau_ratios: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    sampled_depth: Depth
    lambdas: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_ITEMS)]
    other_ratios: Annotated[tuple[Positive, ...], Field(max_length=MOST_ITEMS)]
    sampler: ByMethod
    exact: ExactSettings

    @model_validator(mode="after")
    def _depth_has_a_curve(self) -> Self:
        if self.sampled_depth not in self.depths:
            raise ValueError(
                f"sampled_depth: got {self.sampled_depth}, must be one of depths {list(self.depths)}"
            )
        return self

    @model_validator(mode="after")
    def _signals_are_on_the_curves(self) -> Self:
        try:
            critical = {
                depth: critical_signal(depth, self.prior, self.kappa) for depth in self.depths
            }
        except ArithmeticError as error:
            raise ValueError(
                f"prior: got {self.prior.model_dump()}, too extreme for the depths {list(self.depths)}"
            ) from error
        if self.largest_signal <= 1.1 * max(critical.values()):
            raise ValueError(
                f"largest_signal: got {self.largest_signal:g}, must exceed 1.1 times the largest "
                f"lambda_c of the depths, {max(critical.values()):.4g}"
            )
        if max(self.lambdas) > self.largest_signal:
            raise ValueError(
                f"lambdas: got {max(self.lambdas):g}, must not exceed largest_signal = "
                f"{self.largest_signal:g}, where the curves end"
            )
        for key, largest in (
            ("landau_ratios", critical[self.sampled_depth]),
            ("other_ratios", max(critical.values())),
        ):
            ratios = getattr(self, key)
            if ratios and max(ratios) > self.largest_signal / largest:
                raise ValueError(
                    f"{key}: got {list(ratios)}, must not exceed largest_signal / lambda_c = "
                    f"{self.largest_signal / largest:.4g}"
                )
        return self

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        for key in ("depths", "lambdas", "landau_ratios", "other_ratios"):
            values = getattr(self, key)
            # Ids of runs and names of curves have the values in this format.
            if len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{key}: got {list(values)}, the values must differ")
        return self


def runs(section: Section, build: RunBuilder) -> list[Run | Transition]:
    """One theory scan for each depth; a family of all lambdas for each network and sampler."""
    depth = section.sampled_depth
    runs: list[Run | Transition] = [
        _scan(section, steps, f"{build.figure}/depth{steps}") for steps in section.depths
    ]
    signals = (*section.lambdas, *_signals(section, depth, section.landau_ratios))
    # Of two that have one name, that of panel b, where the law of m is known.
    named = {f"{signal:g}": signal for signal in signals}
    task = SignalsTask(signals=tuple(sorted(named.values())))
    network = _network(section, "rnn", depth)
    name = f"rnn-depth{depth}"
    runs += [
        build("sampler", name, network, section.kappa, task, section.sampler),
        build("exact", f"{name}-exact", network, section.kappa, task, section.exact),
    ]
    kinds: tuple[tuple[Kind, int], ...] = (
        *(("rnn", steps) for steps in section.depths if steps != depth),
        ("dnn", depth),
    )
    for kind, steps in kinds if section.other_ratios else ():
        task = SignalsTask(signals=_signals(section, steps, section.other_ratios))
        network, name = _network(section, kind, steps), f"{kind}-depth{steps}-exact"
        runs.append(build("exact", name, network, section.kappa, task, section.exact))
    return runs


def _signals(section: Section, depth: int, ratios: tuple[float, ...]) -> tuple[float, ...]:
    """The lambdas at these lambda / lambda_c of RNNs of this depth."""
    critical = critical_signal(depth, section.prior, section.kappa)
    return tuple(ratio * critical for ratio in ratios)


def _network(section: Section, kind: Kind, depth: int) -> Architecture:
    return Architecture(kind=kind, steps=depth, prior=section.prior)


def _scan(section: Section, depth: int, identity: str) -> Transition:
    """The scan of one depth: laws of m where it has networks, Landau curves at the sampled depth."""
    is_sampled = depth == section.sampled_depth
    width = section.sampler.width
    widths = sorted({width, section.exact.width}) if is_sampled else [section.exact.width]
    ratios = section.landau_ratios if is_sampled else section.other_ratios
    return Transition(
        id=identity,
        architecture=_network(section, "rnn", depth),
        kappa=section.kappa,
        largest_signal=section.largest_signal,
        points=section.curve_points,
        landau_ratios=section.landau_ratios if is_sampled else (),
        width=width if is_sampled else None,
        laws=tuple(product(widths, ratios)),
    )
