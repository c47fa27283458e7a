"""Steps on a CPU, compiled by Numba; ``kinetic.step`` and ``sgld.step`` define them.

Chain by chain, with few passes over the weights: one does kick, drift, friction and noise. A network of
figure 5 stays in a core's cache for the whole step. One of N = 2048 is read from memory less often.

Euler's step of SGLD is that of underdamped dynamics with h^2 = 2 eta that forgets all of its velocity,
begins at rest, and moves by h instead of h / 2 times the new noise.

Numba compiles at the first call, which takes seconds, and caches the result on disk.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba.core.errors import NumbaError, NumbaExperimentalFeatureWarning
from torch import Tensor

from weightsharing.errors import ConfigError
from weightsharing.model.activations import ACTIVATIONS, ActivationName
from weightsharing.sampling.backends.compiled import step as compiled_step
from weightsharing.sampling.backends.compiled.jit import with_sound_cache
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks, Dynamics
from weightsharing.sampling.random import Streams, by_thread
from weightsharing.sampling.sgld import step as sgld


def supports(posterior: Posterior, dynamics: Dynamics) -> bool:
    """Whether there is a compiled step for these dynamics and this activation."""
    name = posterior.architecture.activation
    known = name in compiled_step.CODES or ACTIVATIONS[name].scalar is not None
    moves = dynamics.move in (kinetic.move, sgld.move)
    return known and moves and not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def pointers(activation: ActivationName) -> tuple[Any, Any]:
    """phi and phi' of an activation, which compiled code calls if it does not know the activation.

    Raises ConfigError if Numba cannot compile them, or if they are not those of the activation.
    """
    known = ACTIVATIONS[activation]
    if known.scalar is None:
        return _pointer(_never_called), _pointer(_never_called)
    try:
        first, second = map(_pointer, known.scalar)
    except NumbaError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"activation: Numba cannot compile scalar of {activation!r}: {reason}; without scalar, "
            "PyTorch makes the steps"
        ) from error
    at = torch.tensor([-3.1, -0.7, 0.2, 1.9], dtype=torch.float64)
    for function, pointer in ((known.phi, first), (known.slope, second)):
        found = torch.tensor([pointer.ctypes(float(h)) for h in at], dtype=torch.float64)
        if not torch.allclose(found, function(at), rtol=1e-9, atol=1e-9):
            raise ConfigError(
                f"activation: scalar of {activation!r} differs from phi and slope: {found.tolist()} at "
                f"{at.tolist()}, want {function(at).tolist()}"
            )
    return first, second


@cache
def _pointer(function: Callable[[float], float]) -> Any:  # noqa: ANN401
    """A compiled function of one number; functions of ``math`` are compiled code already."""
    known = function if isinstance(function, BuiltinFunctionType) else numba.njit(function)
    return numba.cfunc("float64(float64)")(lambda h: known(h))


def _never_called(h: float) -> float:
    return h


def advance(
    posterior: Posterior,
    dynamics: Dynamics,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """``backends.advance`` compiled. Raises ValueError if ``supports`` is false."""
    if not supports(posterior, dynamics):
        raise ValueError(
            f"no compiled step for these dynamics with activation {posterior.architecture.activation}"
        )
    architecture, real = posterior.architecture, posterior.inputs.numpy().dtype.type
    if dynamics.has_velocities:
        h, kept, fresh = dynamics.step_size, math.exp(-dynamics.damping), 0.5
    else:
        h, kept, fresh = math.sqrt(2.0 * dynamics.step_size), 0.0, 1.0
    inputs = posterior.inputs.contiguous().numpy()
    shared = architecture.weight_matrices == 1
    code = compiled_step.CODES.get(architecture.activation, compiled_step.OTHER)
    functions = pointers(architecture.activation)
    integrated = posterior.integrated
    times = np.array([-h, h, 0.5 * h, fresh * h, kept], real)

    def step_of(memory: Tensor, streams: Streams, number: int) -> None:
        has_noise, target = dynamics.has_noise(number), target_at(number)
        states, width = memory.numpy(), blocks(memory)[0].readout.shape[1]
        keys = np.array([key_of(stream) for stream in streams] if has_noise else [], np.uint64)
        variances = np.array(architecture.prior.variances(width))
        spreads = np.sqrt((1.0 - kept**2) * variances)
        scales = variances.astype(real), spreads.astype(real), times
        shape = (len(memory), *inputs.shape[:2])
        targets, supervised = (
            values.expand(shape).contiguous().numpy()
            for values in (target.targets, target.supervised)
        )

        def move_chains(chains: slice) -> None:
            compiled_step.step(
                states[chains], dynamics.has_velocities, keys[chains], has_noise, width, shared, code,
                functions, integrated, real(posterior.kappa), inputs, targets[chains],
                supervised[chains], *scales,
            )  # fmt: skip

        with warnings.catch_warnings():
            # Numba calls pointers to functions experimental each time it compiles.
            warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
            with_sound_cache(lambda: by_thread(move_chains, memory))

    return step_of


def key_of(stream: torch.Generator) -> int:
    """The key of the deviates of a step, from the stream of a chain."""
    return int(torch.empty((), dtype=torch.int64).random_(generator=stream))
