"""Settings of the samplers, as a configuration gives them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weightsharing.model.record import Count, NonNegative, Positive, Record


class ChainSettings(Record):
    """What all samplers have in common.

    width: N. draws: kept draws per chain. chains: independent chains, run as one batch. start:
    "prior", or the stationary point of the theory whose kernel the first activities are drawn from
    ("lowest" is the one of lowest action, "disordered" the one without temporal coherence). spectra:
    draws per chain, evenly spaced, whose recurrent eigenvalues are kept. keep_weights: whether the
    last weights of the first chain are kept.

    A key of another method without a value (null) counts as absent: laid over a preset, a file can
    change the method, but not delete a key.
    """

    width: Count
    draws: Annotated[int, Field(ge=4)]
    chains: Annotated[int, Field(ge=2)]
    start: Literal["prior", "lowest", "disordered"]
    spectra: Annotated[int, Field(ge=0)] = 0
    keep_weights: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_emptied_keys(cls, settings: object) -> object:
        if not isinstance(settings, dict):
            return settings
        return {
            key: value
            for key, value in settings.items()
            if value is not None or key in cls.model_fields or key not in OF_SOME_METHOD
        }

    @model_validator(mode="after")
    def _spectra_divide_draws(self) -> Self:
        if self.spectra and self.draws % self.spectra:
            raise ValueError(
                f"spectra: got {self.spectra}, must divide draws = {self.draws}: eigenvalues are kept "
                "of every draws / spectra-th draw"
            )
        return self


class DynamicsSettings(ChainSettings):
    """Dynamics of the weights. Times are step_size x steps, which do not depend on N.

    burn_in: time discarded. ramp: first part of it, over which the labels grow linearly from 0 to
    their size. duration: time sampled, with evenly spaced draws.
    """

    step_size: Positive
    burn_in: NonNegative
    ramp: NonNegative = 0.0
    duration: Positive
    precision: Literal["float32", "float64"]

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
        if between < 0.5 or abs(between - round(between)) > 1e-6 * between:
            raise ValueError(
                f"draws: got {self.draws}, which leaves duration / step_size / draws = {between:.4g} "
                "steps between two draws; that must be a whole number"
            )
        return self

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


class LangevinSettings(DynamicsSettings):
    """SGLD; step_size is eta of THEORY 2."""

    method: Literal["sgld"]


class KineticSettings(DynamicsSettings):
    """Underdamped Langevin dynamics; step_size is h, in units where the prior has frequency 1.

    refresh: friction and noise act at every step whose number it divides, for all the time since.
    """

    method: Literal["kinetic"]
    friction: Positive = 1.0
    refresh: Count = 1

    @property
    def damping(self) -> float:
        """Friction times the time between two steps with it."""
        return self.friction * self.step_size * self.refresh


class ExactSettings(ChainSettings):
    """Hamiltonian Monte Carlo of the activities, weights integrated out (THEORY 8).

    warm_up: trajectories discarded, during which step size and mass adapt. thinning: trajectories
    between kept draws. leapfrog_steps: steps of a trajectory. acceptance: that the step size aims at.
    Always in float64.
    """

    method: Literal["exact"]
    warm_up: Annotated[int, Field(ge=10)]
    thinning: Count
    leapfrog_steps: Count
    acceptance: Annotated[float, Field(gt=0.2, lt=0.999)] = 0.8

    @property
    def burn_in_steps(self) -> int:
        """Trajectories discarded at the beginning of each chain."""
        return self.warm_up

    @property
    def draw_every(self) -> int:
        """Trajectories between kept draws."""
        return self.thinning


WeightSettings = LangevinSettings | KineticSettings
SamplerSettings = WeightSettings | ExactSettings
OF_SOME_METHOD = {
    key
    for settings in (LangevinSettings, KineticSettings, ExactSettings)
    for key in settings.model_fields
}
