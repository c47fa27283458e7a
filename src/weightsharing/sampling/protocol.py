"""What a chain needs of a sampler: a named state, and functions that start, move and observe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, TypeVar, get_type_hints

import torch
from torch import Tensor

from weightsharing.model.network import Weights
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.random import Streams

# A NamedTuple of tensors, or of NamedTuples of them; the first axis of each tensor is the chain.
State = TypeVar("State", bound=tuple[Any, ...])

# Makes a step of a batch of chains, (chain, size), in place, given its number.
Advance = Callable[[Tensor, Streams, int], None]
# Weights, and velocities if there are any, as views of the states (chain, size).
Blocks = Callable[[Tensor], tuple[Weights, Weights | None]]


class Move(Protocol):
    """One step of some dynamics of the weights, in place, in PyTorch: what a sampler's folder defines."""

    def __call__(
        self, weights: Weights, velocities: Weights | None, noise: Weights | None,
        posterior: Posterior, step_size: float, damping: float,
    ) -> None:  # fmt: skip
        """Move ``weights`` and any ``velocities``.

        noise: standard normal deviates of the weights' shapes, None for a step without noise. damping:
        friction times the time since the last step with noise.
        """


class Dynamics(NamedTuple):
    """Dynamics of the weights, as backends take them: a step and its times (``Move``).

    refresh: noise is drawn at every step whose number it divides. has_velocities: whether the state has
    velocities behind the weights.
    """

    move: Move
    step_size: float
    damping: float = 0.0
    refresh: int = 1
    has_velocities: bool = False

    def has_noise(self, number: int) -> bool:
        """Whether step ``number`` draws noise."""
        return (number + 1) % self.refresh == 0


class Observation(NamedTuple):
    """The quantities that are kept of a draw.

    kernel H and activation_kernel Phi: (chain, pattern, pattern_, time, time_). output:
    (chain, output_time, pattern). loss: 1/2 sum_S (y - f)^2, (chain,). identities: the sampler's
    ``identities``, (chain, identity), each of mean 1 in equilibrium.
    """

    kernel: Tensor
    activation_kernel: Tensor
    output: Tensor
    loss: Tensor
    identities: Tensor


class Sampler(Protocol[State]):
    """A sampler of one posterior for a batch of chains, each with a random stream of its own.

    state_type: the NamedTuple of a state. check_every: steps between two checks. identities: names of
    quantities of mean 1 in equilibrium that it observes (``measures.equilibrium``).
    """

    state_type: type[State]
    identities: tuple[str, ...]

    @property
    def check_every(self) -> int:
        """Steps between two checks."""

    def init(self, streams: Streams) -> State:
        """The state at step 0."""

    def step(self, state: State, streams: Streams, number: int) -> State:
        """The state after step ``number``; it may reuse the memory of the state before."""

    def observe(
        self, state: State, streams: Streams, weights: Weights | None = None
    ) -> Observation:
        """Kernels, outputs and loss; the readout is drawn for them unless the chain has one.

        weights: those of ``weights`` at this state, if drawn before; outputs and loss are then theirs.
        """

    def weights(self, state: State, streams: Streams) -> Weights:
        """The weights of the networks; the exact sampler draws them given the activities."""

    def check(self, state: State, number: int) -> Tensor:
        """The step relative to its limit of stability, (chain,); 0 for a sampler without a limit.

        Raises ChainError, naming the chain, if a chain cannot go on.
        """

    def acceptance(self, state: State) -> float | None:
        """Share of accepted proposals after the burn-in; None for a sampler without proposals."""


def tensors_of(state: tuple[Any, ...], prefix: str = "state") -> dict[str, Tensor]:
    """All tensors of a state by the path of their names."""
    found: dict[str, Tensor] = {}
    for name, part in zip(type(state)._fields, state, strict=True):  # type: ignore[attr-defined]
        path = f"{prefix}.{name}"
        found |= {path: part} if isinstance(part, Tensor) else tensors_of(part, path)
    return found


def state_of(kind: Any, tensors: dict[str, Tensor], path: str = "state") -> Any:  # noqa: ANN401
    """The inverse of ``tensors_of``: a NamedTuple of this kind."""
    if kind is Tensor:
        return tensors[path]
    fields = get_type_hints(kind)
    return kind(
        **{name: state_of(part, tensors, f"{path}.{name}") for name, part in fields.items()}
    )


def finite(tensors: Iterable[Tensor]) -> Tensor:
    """Whether all numbers of each chain are finite, (chain,).

    The sum of a chain's numbers is finite only if all are. It costs one pass, a tenth of a test of each.
    """
    return torch.stack(
        [torch.isfinite(tensor.reshape(len(tensor), -1).sum(1)) for tensor in tensors]
    ).all(0)
