"""Settings that samplers share; each sampler's folder has its own settings record."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from weightsharing.model.architecture import Architecture
from weightsharing.model.record import Count, NonNegative, Number, Positive, Record

# Steps of a chain. No machine gets there; it keeps their number exact.
MOST_STEPS = 1e15
# Keys of any sampler. The registry, ``weightsharing.sampling``, fills it.
KEYS_OF_ALL_SAMPLERS: set[str] = set()


class ChainSettings(Record):
    """What all samplers have in common.

    width: N. draws: kept draws per chain. chains: independent chains, run as one batch. start:
    "prior", or the stationary point of the theory whose kernel the first activities are drawn from
    ("lowest" has the lowest action, "disordered" has no temporal coherence). spectra: draws per chain,
    evenly spaced, whose recurrent eigenvalues are kept. keep_weights: the same for the weights.

    A key of another sampler with the value null counts as absent. A preset can change the method, but it
    cannot delete a key of the configuration below it.

    Every sampler says: ``label`` and ``marker``, its name and symbol in figures; ``sentence``, its name
    in captions; ``many_members_on_cpu``, whether a CPU moves members of a family together (``batches``).
    """

    label: ClassVar[str]
    sentence: ClassVar[str]
    marker: ClassVar[str]
    many_members_on_cpu: ClassVar[bool] = False

    width: Count
    draws: Annotated[int, Field(ge=4), Number]
    chains: Annotated[int, Field(ge=2), Number]
    start: Literal["prior", "lowest", "disordered"]
    spectra: Annotated[int, Field(ge=0), Number] = 0
    keep_weights: Annotated[int, Field(ge=0), Number] = 0

    @property
    @abstractmethod
    def burn_in_steps(self) -> int:
        """Steps discarded at the beginning of each chain."""

    @property
    @abstractmethod
    def draw_every(self) -> int:
        """Steps between kept draws."""

    @property
    def total_steps(self) -> int:
        """Steps of each chain."""
        return self.burn_in_steps + self.draw_every * self.draws

    def numbers_of_a_chain(self, architecture: Architecture, patterns: int) -> int:
        """Estimate of how many numbers one chain keeps in memory, to choose the size of a batch."""
        return architecture.weight_matrices * self.width**2

    def numbers_of_all_chains(self, architecture: Architecture, patterns: int) -> int:
        """Estimate of the numbers in memory: the states of all chains, and the draws that are kept."""
        size = architecture.steps * patterns
        kernels = 1 if architecture.activation == "linear" else 2
        draw = kernels * size**2 + size + 1
        spectrum = 2 * architecture.weight_matrices * self.width
        weights = architecture.weight_matrices * self.width**2
        numbers = self.numbers_of_a_chain(architecture, patterns)
        numbers += self.draws * draw + self.spectra * spectrum + self.keep_weights * weights
        return self.chains * numbers

    @model_validator(mode="before")
    @classmethod
    def _without_emptied_keys(cls, settings: object) -> object:
        if not isinstance(settings, dict):
            return settings
        return {
            key: value
            for key, value in settings.items()
            if value is not None or key in cls.model_fields or key not in KEYS_OF_ALL_SAMPLERS
        }

    @model_validator(mode="after")
    def _kept_draws_divide_draws(self) -> Self:
        for key, kept in (("spectra", self.spectra), ("keep_weights", self.keep_weights)):
            if kept and self.draws % kept:
                raise ValueError(
                    f"{key}: got {kept}, must divide draws = {self.draws}: it is the number of draws, "
                    "evenly spaced, that are kept"
                )
        return self


class DynamicsSettings(ChainSettings):
    """Langevin dynamics of the weights. Times are step_size x steps and do not depend on N.

    burn_in: time discarded. ramp: first part of it, over which the labels grow linearly from 0 to
    their size. duration: time sampled, with evenly spaced draws. readout: "sampled" moves v like all
    weights; "integrated" moves W and U with v integrated out, and draws v given W, U and y at each draw.
    The law is the same.

    A direction of curvature k is stable for ``stiffness_per_curvature`` x k < 1. That share grows with
    the power ``stiffness_order`` of the step size.
    """

    stiffness_order: ClassVar[int]

    step_size: Positive
    burn_in: NonNegative
    ramp: NonNegative = 0.0
    duration: Positive
    precision: Literal["float32", "float64"]
    readout: Literal["integrated", "sampled"] = "sampled"

    @property
    @abstractmethod
    def stiffness_per_curvature(self) -> float:
        """The step, for a direction of curvature 1, relative to the limit of stability."""

    @property
    def details(self) -> str:
        """What a caption adds about the dynamics, in sentences."""
        if self.readout == "sampled":
            return ""
        return "Readouts are integrated out, and drawn exactly for each draw."

    @property
    def widening(self) -> float:
        """By what share the step widens the prior's variances."""
        return 0.0

    @property
    def burn_in_steps(self) -> int:
        """Steps discarded at the beginning of each chain."""
        return round(self.burn_in / self.step_size)

    @property
    def ramp_steps(self) -> int:
        """Steps over which the labels grow."""
        return round(self.ramp / self.step_size)

    @property
    def draw_every(self) -> int:
        """Steps between kept draws."""
        return round(self.duration / self.step_size / self.draws)

    @property
    def duration_steps(self) -> int:
        """Steps over which draws are kept."""
        return self.draw_every * self.draws

    @model_validator(mode="after")
    def _ramp_within_burn_in(self) -> Self:
        if self.ramp > self.burn_in:
            raise ValueError(
                f"ramp: got {self.ramp:g}, must not exceed burn_in = {self.burn_in:g}; it is part of it"
            )
        return self

    @model_validator(mode="after")
    def _steps_suffice(self) -> Self:
        between = self.duration / self.step_size / self.draws
        if (self.burn_in + self.duration) / self.step_size > MOST_STEPS:
            raise ValueError(
                f"step_size: got {self.step_size:g}, which makes more than {MOST_STEPS:g} steps"
            )
        if between < 0.5 or abs(between - round(between)) > 1e-6 * between:
            raise ValueError(
                f"draws: got {self.draws}, which leaves duration / step_size / draws = {between:.4g} "
                "steps between two draws; that must be a whole number"
            )
        return self
