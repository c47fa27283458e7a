"""The data contract: frozen records that say what a run is, and the names of the axes.

A ``Run`` is one (task, network, width, sampler, seed) condition and a ``Transition`` is one theory
scan over the signal strength. Both are read from a resolved YAML file, the only file that carries
parameters. Unknown keys are refused and every value is checked when the record is made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Array = NDArray[np.floating[Any]]

# Axis names of every file. A trailing underscore marks the second index of a kernel.
KERNEL_AXES = ("pattern", "pattern_", "time", "time_")
OUTPUT_AXES = ("pattern", "output_time")
DRAW_AXES = ("chain", "draw")
# Eigenvalues of the recurrent matrices at some draws; the last axis is real and imaginary part.
SPECTRUM_AXES = ("chain", "spectrum", "matrix", "unit", "part")

# Largest dimension T P of the single-neuron integral of the nonlinear theory: beyond it the importance
# weights degenerate.
LARGEST_INTEGRAL = 20

# The upper bound is far beyond anything sensible; it keeps powers and ratios within float64.
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Times = Annotated[tuple[Count, ...], Field(min_length=1)]
# Two steps per period are the fastest oscillation that the steps resolve.
Period = Annotated[float, Field(ge=2, le=1e9, allow_inf_nan=False)]
Device = Literal["auto", "cpu", "cuda"]
Kind = Literal["rnn", "dnn"]
KINDS: tuple[Kind, ...] = ("dnn", "rnn")
Activation = Literal["linear", "erf", "tanh", "relu"]


class Record(BaseModel):
    """Base of all parameter records: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Prior(Record):
    """Prior variances: W_ij ~ N(0, w/N), U_ia ~ N(0, u), v_i ~ N(0, v) (THEORY 1)."""

    w: Positive = 1.0
    u: Positive = 1.0
    v: Positive = 1.0


class Architecture(Record):
    """A network unrolled over ``steps`` hidden steps t = 0..T-1 (THEORY 1).

    kind: "rnn" shares one recurrent matrix W over all steps, "dnn" has an independent one for each.
    activation: "linear" is the identity, "erf" is erf(sqrt(pi)/2 x), of slope 1 at 0 as "tanh" is.
    """

    kind: Kind
    activation: Activation = "linear"
    steps: Annotated[int, Field(ge=2)]
    prior: Prior = Prior()

    @property
    def weight_matrices(self) -> int:
        """Number of independent recurrent matrices: 1 (RNN) or T - 1 (DNN)."""
        return 1 if self.kind == "rnn" else self.steps - 1


class EndpointTask(Record):
    """Orthonormal inputs at t = 0, one label per input at output time T (THEORY 5)."""

    kind: Literal["endpoint"] = "endpoint"
    labels: Annotated[tuple[Finite, ...], Field(min_length=1)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return len(self.labels)


class SinusoidTask(Record):
    """One scalar input, x^t = 1 at t = 0 only, and targets y^t = cos(2 pi t / period) (figure 2).

    period: T if None. supervised: output times trained on; all if None.
    """

    kind: Literal["sinusoid"] = "sinusoid"
    period: Period | None = None
    supervised: Times | None = None

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @property
    def sets(self) -> tuple[Times, ...]:
        """The supervised times, if they are given."""
        return () if self.supervised is None else (self.supervised,)


class SequenceTask(Record):
    """A family of sinusoid tasks, one for each set of supervised times (figure 5)."""

    kind: Literal["sequence"] = "sequence"
    period: Period
    sets: Annotated[tuple[Times, ...], Field(min_length=1)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @model_validator(mode="after")
    def _sets_differ(self) -> Self:
        if len({frozenset(times) for times in self.sets}) < len(self.sets):
            raise ValueError("sets: some occur twice; they must differ")
        return self


class FileTask(Record):
    """Inputs and targets of one's own, in a NetCDF file; ``tasks.file_task`` says what it has to hold.

    path: of the file, read once, when the run is resolved. patterns: P.
    """

    kind: Literal["file"] = "file"
    path: Annotated[str, Field(min_length=1)]
    patterns: Count


AnyTask = EndpointTask | SinusoidTask | SequenceTask | FileTask


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


class Run(Record):
    """One condition: a task learned by one network, and the sampler that trains it.

    A family of tasks is one run as well: its files have an axis "set", and each of its members is
    solved, trained and measured by itself, although chains of several may move in one batch.

    kappa: the temperature of the posterior is kappa / N. seed: root seed of all random streams.
    device: where the chains run.
    """

    kind: Literal["run"] = "run"
    id: str
    seed: Annotated[int, Field(ge=0)]
    device: Device
    architecture: Architecture
    kappa: Positive
    task: Annotated[AnyTask, Field(discriminator="kind")]
    sampler: Annotated[SamplerSettings, Field(discriminator="method")]

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs of single tasks that this one consists of: itself, or one for each set.

        Each member of a family has a name, the set, and random streams of its own.
        """
        if not isinstance(self.task, SequenceTask):
            return (self,)
        names = (f"{self.id} {name}" for name in self.member_names)
        return tuple(
            self.model_copy(
                update={
                    "id": name,
                    "seed": derived_seed(self.seed, name),
                    "task": SinusoidTask(period=self.task.period, supervised=times),
                }
            )
            for name, times in zip(names, self.task.sets, strict=True)
        )

    @property
    def member_names(self) -> tuple[str, ...]:
        """The sets of a family as words, such as "2-4-5"; none if the run is not a family."""
        if not isinstance(self.task, SequenceTask):
            return ()
        return tuple("-".join(map(str, times)) for times in self.task.sets)

    @property
    def has_theory(self) -> bool:
        """Whether the kernel theory of this run can be solved: linear, or T P small enough."""
        size = self.architecture.steps * self.task.patterns
        return self.architecture.activation == "linear" or size <= LARGEST_INTEGRAL

    @property
    def theory_key(self) -> str:
        """What the theory depends on: runs with the same key share it, whatever their sampler."""
        return self.model_dump_json(include={"architecture", "kappa", "task"})

    @model_validator(mode="after")
    def _start_is_known(self) -> Self:
        if self.sampler.start != "prior" and not self.has_theory:
            raise ValueError(
                f"sampler.start: got {self.sampler.start!r}, must be 'prior' where there is no theory "
                f"(activation {self.architecture.activation!r} and T P above {LARGEST_INTEGRAL})"
            )
        return self

    @model_validator(mode="after")
    def _supervised_times_exist(self) -> Self:
        for chosen in self.task.sets if isinstance(self.task, SinusoidTask | SequenceTask) else ():
            if max(chosen) > self.architecture.steps or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"task.supervised: got {list(chosen)}, want different output times from 1 to T = "
                    f"{self.architecture.steps}"
                )
        return self

    @model_validator(mode="after")
    def _step_size_is_stable(self) -> Self:
        # Of other tasks and activations the curvature is known to the running chain only.
        known = isinstance(self.task, EndpointTask) and self.architecture.activation == "linear"
        if isinstance(self.sampler, ExactSettings) or not known:
            return self
        curvature = prior_curvature(self.architecture, self.kappa)
        sgld = isinstance(self.sampler, LangevinSettings)
        limit = 2.0 / (curvature if sgld else curvature**0.5)
        if self.sampler.step_size >= limit:
            raise ValueError(
                f"sampler.step_size: {self.sampler.step_size:g} is beyond the stability limit "
                f"{limit:.3g} of the untrained network; a tenth of it or less is sensible"
            )
        return self

    @model_validator(mode="after")
    def _activities_have_a_density(self) -> Self:
        least = self.architecture.steps * self.task.patterns
        if self.sampler.method == "exact" and self.sampler.width < least:
            raise ValueError(
                f"sampler.width: got {self.sampler.width}, the exact sampler needs at least T P = {least}"
            )
        return self


def derived_seed(root: int, name: str) -> int:
    """A seed from a root seed and a name: different names are independent of each other."""
    return int.from_bytes(hashlib.sha256(f"{root} {name}".encode()).digest()[:7], "big")


class Transition(Record):
    """A theory scan over lambda for one depth of the linear RNN (THEORY 5, figure 4).

    largest_signal: the branches are followed up to this lambda, on ``points`` values.
    landau_ratios: lambda / lambda_c of the curves F(m). width: where given, the mean of |m| in
    networks of this width is predicted as well.
    """

    kind: Literal["transition"] = "transition"
    id: str
    architecture: Architecture
    kappa: Positive
    largest_signal: Positive
    points: Annotated[int, Field(ge=5)]
    landau_ratios: tuple[Positive, ...] = ()
    width: Count | None = None

    @model_validator(mode="after")
    def _has_transition(self) -> Self:
        if self.architecture.steps < 3 or self.architecture.kind != "rnn":
            raise ValueError("architecture: the transition exists for RNNs with steps >= 3 only")
        return self


def prior_curvature(architecture: Architecture, kappa: float) -> float:
    """Largest curvature of a linear network's energy at the prior, in units of the prior variances.

    1 + (T + 1) v u w^(T-1) / kappa for one unit input at t = 0 read out at T: each of U, v and the
    T - 1 factors W adds v u w^(T-1) / kappa, and 1 is weight decay (THEORY 2). Training raises the
    kernel and with it the curvature, so this bounds the step size from above only.
    """
    prior, steps = architecture.prior, architecture.steps
    return 1.0 + (steps + 1) * prior.v * prior.u * prior.w ** (steps - 1) / kappa


@dataclass(frozen=True)
class Task:
    """Inputs and targets.

    inputs: x_p^t, shape (pattern, time, feature), hidden times 0..T-1.
    targets: y_p^t, shape (pattern, output_time), output times 1..T; NaN where there is none. Output
        time t reads hidden step t - 1, so column k of ``targets`` belongs to column k of ``inputs``.
    supervised: which targets are trained on, same shape as ``targets``.
    """

    inputs: Array
    targets: Array
    supervised: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.inputs.ndim != 3:
            raise ValueError(
                f"task inputs: shape {self.inputs.shape}, want (pattern, time, feature)"
            )
        for name, array in (("targets", self.targets), ("supervised", self.supervised)):
            if array.shape != self.inputs.shape[:2]:
                raise ValueError(
                    f"task {name}: shape {array.shape}, want {self.inputs.shape[:2]} as the inputs have"
                )
        if not np.isfinite(self.inputs).all():
            raise ValueError("task inputs: not all finite")
        if not np.isfinite(self.targets[self.supervised]).all():
            raise ValueError("task targets: NaN or infinite at a supervised time")

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return int(self.inputs.shape[0])

    @property
    def steps(self) -> int:
        """Number of hidden steps T."""
        return int(self.inputs.shape[1])


def time_major(values: NDArray[Any]) -> NDArray[Any]:
    """(pattern, time) array as the vector of index t P + p that the theory uses."""
    return np.ascontiguousarray(values.T).reshape(-1)


def kernel_axes(matrix: Array, patterns: int, steps: int) -> Array:
    """(T P, T P) matrix of index t P + p, reordered to the axes (pattern, pattern_, time, time_)."""
    return np.ascontiguousarray(
        matrix.reshape(steps, patterns, steps, patterns).transpose(1, 3, 0, 2)
    )


def kernel_matrix(kernel: Array) -> Array:
    """The inverse of ``kernel_axes``: (pattern, pattern_, time, time_) to a (T P, T P) matrix."""
    patterns, _, steps, _ = kernel.shape
    return np.ascontiguousarray(kernel.transpose(2, 0, 3, 1)).reshape(
        steps * patterns, steps * patterns
    )
