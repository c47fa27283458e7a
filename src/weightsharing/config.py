"""The configuration file: what it may say, and the runs that follow from it.

``config.yaml``, with a preset laid over it, is validated here before anything runs. Each figure's
section is turned into runs with readable names, the records that all later steps read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from weightsharing.errors import ConfigError, FileError
from weightsharing.model.architecture import KINDS, Activation, Architecture, Prior
from weightsharing.model.record import Count, Period, Positive, Record, derived_seed, explain
from weightsharing.model.tasks import (
    AnyTask,
    EndpointTask,
    SequenceTask,
    SinusoidTask,
    even_sets,
    random_sets,
)
from weightsharing.sampling import SamplerSettings, WeightSettings
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Device, Run
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import critical_signal

Depth = Annotated[int, Field(ge=3)]
# How weights are trained: by one of the dynamics, named by its method.
ByMethod = Annotated[WeightSettings, Field(discriminator="method")]


class Figure2(Record):
    """Kernels of a nonlinear RNN against its width.

    kappa, prior, activation: the posterior. steps: T of the sinusoid. trained, exact: the
    samplers, of several widths. shown: widths of the kernels drawn beside the theory.
    """

    kappa: Positive
    prior: Prior
    activation: Activation
    steps: Annotated[int, Field(ge=3)]
    trained: Annotated[tuple[ByMethod, ...], Field(min_length=1)]
    exact: Annotated[tuple[ExactSettings, ...], Field(min_length=1)]
    shown: Annotated[tuple[Count, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _widths_exist(self) -> Self:
        for name, samplers in (("trained", self.trained), ("exact", self.exact)):
            found = [f"{sampler.method} at {sampler.width}" for sampler in samplers]
            if len(set(found)) < len(found):
                raise ValueError(f"{name}: got {', '.join(found)}, they must differ")
        known = {sampler.width for sampler in (*self.trained, *self.exact)}
        if not set(self.shown) <= known:
            raise ValueError(f"shown: got {list(self.shown)}, must be widths of trained or exact")
        return self


class Cells(Record):
    """How the networks of the four cells of figure 3 are trained."""

    dnn_weak: ByMethod
    dnn_strong: ByMethod
    rnn_weak: ByMethod
    rnn_strong: ByMethod


class Figure3(Record):
    """Kernels and spectra of DNN and RNN for a weak and a strong learning signal.

    kappa, prior, activation: the posterior. steps: T. signs: of the labels, one for each pattern.
    weak, strong: sizes of the labels; lambda is P times their square. exact: of all four cells.
    """

    kappa: Positive
    prior: Prior
    activation: Activation
    steps: Annotated[int, Field(ge=3)]
    signs: Annotated[tuple[Literal[-1, 1], ...], Field(min_length=2)]
    weak: Positive
    strong: Positive
    samplers: Cells
    exact: ExactSettings

    @model_validator(mode="after")
    def _weak_is_weaker(self) -> Self:
        if self.weak >= self.strong:
            raise ValueError(f"weak: got {self.weak:g}, must be below strong = {self.strong:g}")
        return self


class Figure4(Record):
    """Order parameter against signal strength of linear RNNs, and the Landau curve.

    kappa, prior: the posterior. depths: T of the theory curves. largest_signal: where the
    curves end. curve_points: points of the finite-width prediction. landau_ratios:
    lambda / lambda_c of panel b.
    sampled_depth: T of the trained networks. lambdas: where they are trained, by both samplers.
    """

    kappa: Positive
    prior: Prior
    depths: Annotated[tuple[Depth, ...], Field(min_length=1)]
    largest_signal: Positive
    curve_points: Annotated[int, Field(ge=5)]
    landau_ratios: Annotated[tuple[Positive, ...], Field(min_length=1)]
    sampled_depth: Depth
    lambdas: Annotated[tuple[Positive, ...], Field(min_length=1)]
    sampler: ByMethod
    exact: ExactSettings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sampled_depth not in self.depths:
            raise ValueError(
                f"sampled_depth: got {self.sampled_depth}, must be one of depths {list(self.depths)}"
            )
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
        largest_ratio = self.largest_signal / critical[self.sampled_depth]
        if max(self.landau_ratios) > largest_ratio:
            raise ValueError(
                f"landau_ratios: got {list(self.landau_ratios)}, must not exceed largest_signal / "
                f"lambda_c = {largest_ratio:.4g}"
            )
        for name in ("depths", "lambdas", "landau_ratios"):
            values = getattr(self, name)
            if len({f"{value:g}" for value in values}) < len(values):
                raise ValueError(f"{name}: got {list(values)}, the values must differ")
        return self


class Trained(Record):
    """How the networks of figure 5 are trained."""

    dnn: ByMethod
    rnn: ByMethod


class Figure5(Record):
    """Generalisation of linear RNNs and DNNs from a few steps of a sequence.

    kappa, prior: the posterior. steps: T. period: of the teacher. selection: supervised sets drawn at
    random or evenly spaced. sets: random ones for each number of supervised steps; the same for all
    networks. shown: numbers of supervised steps of the cells of panels c and d. trained, exact: the
    samplers.
    """

    kappa: Positive
    prior: Prior
    steps: Annotated[int, Field(ge=3, le=30)]
    period: Period
    selection: Literal["random", "even"]
    sets: Count
    shown: Annotated[tuple[Count, ...], Field(min_length=1, max_length=4)]
    trained: Trained
    exact: ExactSettings

    @model_validator(mode="after")
    def _shown_exist(self) -> Self:
        if max(self.shown) > self.steps or len(set(self.shown)) < len(self.shown):
            raise ValueError(
                f"shown: got {list(self.shown)}, want different numbers of supervised steps from 1 to "
                f"T = {self.steps}"
            )
        return self


class Config(Record):
    """The whole configuration."""

    preset: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    device: Device
    fig2: Figure2
    fig3: Figure3
    fig4: Figure4
    fig5: Figure5


def validate(settings: dict[str, Any]) -> Config:
    """The configuration, if it is valid, and so are all its runs.

    Raises ConfigError with one line for each fault: the key, what it got, what is allowed.
    """
    try:
        config = Config.model_validate_json(json.dumps(settings, default=str))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error
    runs(config)
    return config


def load(paths: list[Path]) -> Config:
    """The configuration in files, each laid over the ones before it. Raises FileError, ConfigError."""
    settings: dict[str, Any] = {}
    for path in paths:
        try:
            found = yaml.safe_load(path.read_text())
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: got {found!r}, want a mapping of keys to values")
        settings = overlay(settings, found)
    return validate(settings)


def overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``: mappings are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both else value
    return merged


def runs(config: Config) -> dict[str, Run | Transition]:
    """All runs of all figures by their ids. Raises ConfigError naming the key behind a bad run."""
    every = [
        *figure2_runs(config),
        *figure3_runs(config),
        *figure4_runs(config),
        *figure5_runs(config),
    ]
    return {run.id: run for run in every}


def theory_runs(found: dict[str, Run | Transition]) -> dict[str, str]:
    """For each training run, the id of the run whose theory it shares: the first of the same key."""
    first: dict[str, str] = {}
    return {
        name: first.setdefault(run.theory_key, name)
        for name, run in found.items()
        if isinstance(run, Run)
    }


def figure2_runs(config: Config) -> list[Run]:
    """Figure 2: one run for each sampler and width."""
    figure = config.fig2
    architecture = Architecture(
        kind="rnn", activation=figure.activation, steps=figure.steps, prior=figure.prior
    )
    samplers: list[SamplerSettings] = [*figure.trained, *figure.exact]
    return [
        _run(
            config,
            "fig2.exact" if isinstance(sampler, ExactSettings) else "fig2.trained",
            id=f"fig2/{sampler.method}-width{sampler.width}",
            architecture=architecture,
            kappa=figure.kappa,
            task=SinusoidTask(),
            sampler=sampler,
        )
        for sampler in samplers
    ]


def figure3_runs(config: Config) -> list[Run]:
    """Figure 3: a DNN and an RNN for each of the two signals."""
    figure = config.fig3
    return [
        _run(
            config,
            key,
            id=f"fig3/{kind}-{strength}{suffix}",
            architecture=Architecture(
                kind=kind, activation=figure.activation, steps=figure.steps, prior=figure.prior
            ),
            kappa=figure.kappa,
            task=EndpointTask(labels=tuple(sign * size for sign in figure.signs)),
            sampler=sampler,
        )
        for kind in KINDS
        for strength, size in (("weak", figure.weak), ("strong", figure.strong))
        for key, suffix, sampler in (
            (
                f"fig3.samplers.{kind}_{strength}",
                "",
                getattr(figure.samplers, f"{kind}_{strength}"),
            ),
            ("fig3.exact", "-exact", figure.exact),
        )
    ]


def figure4_runs(config: Config) -> list[Run | Transition]:
    """Figure 4: one theory scan for each depth, one training run for each lambda."""
    figure = config.fig4
    scans: list[Run | Transition] = [
        Transition(
            id=f"fig4/depth{depth}",
            architecture=Architecture(kind="rnn", steps=depth, prior=figure.prior),
            kappa=figure.kappa,
            largest_signal=figure.largest_signal,
            points=figure.curve_points,
            landau_ratios=figure.landau_ratios if depth == figure.sampled_depth else (),
            width=figure.sampler.width if depth == figure.sampled_depth else None,
        )
        for depth in figure.depths
    ]
    trained = Architecture(kind="rnn", steps=figure.sampled_depth, prior=figure.prior)
    samplers: tuple[tuple[str, str, SamplerSettings], ...] = (
        ("fig4.sampler", "", figure.sampler),
        ("fig4.exact", "-exact", figure.exact),
    )
    return scans + [
        _run(
            config,
            key,
            id=f"fig4/depth{figure.sampled_depth}-lambda{strength:g}{suffix}",
            architecture=trained,
            kappa=figure.kappa,
            task=EndpointTask(labels=(strength**0.5,)),
            sampler=sampler,
        )
        for strength in figure.lambdas
        for key, suffix, sampler in samplers
    ]


def figure5_runs(config: Config) -> list[Run]:
    """Figure 5: for DNN and RNN a family of supervised sets, by each of the two samplers."""
    figure = config.fig5
    sets = even_sets(figure.steps)
    if figure.selection == "random":
        sets = random_sets(figure.steps, figure.sets, derived_seed(config.seed, "fig5/sets"))
    return [
        _run(
            config,
            key,
            id=f"fig5/{kind}{suffix}",
            architecture=Architecture(kind=kind, steps=figure.steps, prior=figure.prior),
            kappa=figure.kappa,
            task=SequenceTask(period=figure.period, sets=sets),
            sampler=sampler,
        )
        for kind in KINDS
        for key, suffix, sampler in (
            (f"fig5.trained.{kind}", "", getattr(figure.trained, kind)),
            ("fig5.exact", "-exact", figure.exact),
        )
    ]


def _run(
    config: Config,
    key: str,
    *,
    id: str,
    architecture: Architecture,
    kappa: float,
    task: AnyTask,
    sampler: SamplerSettings,
) -> Run:
    """A run; ``key`` is the place of its sampler in the configuration."""
    try:
        return Run(
            id=id,
            seed=derived_seed(config.seed, id),
            architecture=architecture,
            kappa=kappa,
            task=task,
            device=config.device,
            sampler=sampler,
        )
    except ValidationError as error:
        lines = [line.removeprefix("sampler.") for line in explain(error)]
        raise ConfigError("\n".join(f"{key}.{line}" for line in lines)) from error
