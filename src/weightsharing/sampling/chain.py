"""Running a batch of chains: random streams, burn-in, draws, checks, checkpoints.

Every chain has its own random stream, so its draws do not depend on how many others run beside it.
What is kept of each draw is its kernel, its outputs and its loss, and of some the eigenvalues of the
recurrent matrices; not its weights. Means, error bars and diagnostics are computed from them later.
A checkpoint holds the weights, the random streams and
the draws so far: a chain that is killed and resumed ends bitwise equal to one left alone, on a CPU.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from weightsharing import networks
from weightsharing.errors import DeviceError, DivergenceError, StepSizeError
from weightsharing.networks import Weights
from weightsharing.records import Array, Run, Sampler, Task
from weightsharing.sampling import initial, langevin
from weightsharing.sampling.langevin import Posterior
from weightsharing.storage import replacing

log = logging.getLogger(__name__)

# Above step_size x curvature = 1 the stiffest direction fluctuates with twice its variance or more.
LARGEST_STIFFNESS = 1.0
# Seconds between two reports of progress.
PROGRESS_SECONDS = 1.0
# Langevin time between looks at finiteness and curvature.
CHECK_EVERY = 0.25

Progress = Callable[[int, int], None]


@dataclass
class ChainState:
    """A batch of chains between two steps; the arrays of draws fill up in place.

    memory: (chain, number of weights), the storage of ``weights``. streams: one generator per chain.
    kernel: (chain, draw, pattern, pattern_, time, time_). output: (chain, draw, output_time,
    pattern). loss: 1/2 sum_S (y - f)^2, (chain, draw). eigenvalues: real and imaginary part, (chain,
    spectrum, matrix, unit, 2). stiffness: largest step_size x curvature seen.
    """

    step: int
    memory: Tensor
    weights: Weights
    streams: list[torch.Generator]
    kernel: Tensor
    output: Tensor
    loss: Tensor
    eigenvalues: Tensor
    stiffness: float


@dataclass(frozen=True)
class Samples:
    """The draws of all chains, on the CPU, with the axes of ``ChainState``.

    weights: the last ones of the first chain, without the chain axis, if they were asked for.
    """

    kernel: NDArray[np.floating]
    output: NDArray[np.floating]
    loss: NDArray[np.floating]
    eigenvalues: NDArray[np.floating]
    weights: tuple[NDArray[np.floating], ...] | None
    stiffness: float
    device: str


@torch.inference_mode()
def sample(
    run: Run,
    task: Task,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    start_kernel: Array | None = None,
    progress: Progress = lambda done, total: None,
) -> Samples:
    """Train a batch of networks by SGLD and return the draws of their kernels and outputs.

    checkpoint: file to resume from if it exists, written every ``checkpoint_seconds``; the caller
    removes it once the draws are stored. start_kernel: (T P, T P) matrix H of the first activities;
    None starts from the prior.
    progress: called with (steps done, steps in all).
    Raises DeviceError, StepSizeError, or DivergenceError with the advice that helps.
    """
    sampler = run.sampler
    device = find_device(sampler.device)
    dtype = torch.float64 if sampler.precision == "float64" else torch.float32
    posterior = langevin.build(task, run.architecture, run.kappa, device, dtype)
    key = fingerprint(run, task, start_kernel, device)
    state = _resume(checkpoint, key, sampler, posterior)
    if state is None:
        state = _begin(run, posterior, start_kernel)
        _check(state, posterior, sampler)

    noise_memory = torch.empty_like(state.memory)
    noise = initial.weights_in(noise_memory, run.architecture, sampler.width, task.inputs.shape[2])
    check_every = max(1, round(CHECK_EVERY / sampler.step_size))
    saved = shown = time.monotonic()
    while state.step < sampler.total_steps:
        _fill(noise_memory, state.streams)
        langevin.step(
            state.weights, noise, _ramped(posterior, state.step, sampler), sampler.step_size
        )
        state.step += 1
        after = state.step - sampler.burn_in_steps
        if after > 0 and after % sampler.thinning == 0:
            _record(state, after // sampler.thinning - 1, posterior, sampler)
        # Powers of two as well: an unstable chain diverges within few steps.
        due = state.step % check_every == 0 or state.step & (state.step - 1) == 0
        if due or state.step == sampler.total_steps:
            _check(state, posterior, sampler)
        now = time.monotonic()
        if now - shown >= PROGRESS_SECONDS or state.step == sampler.total_steps:
            progress(state.step, sampler.total_steps)
            shown = now
        if checkpoint is not None and now - saved >= checkpoint_seconds:
            save_checkpoint(state, checkpoint, key)
            saved = now
    return Samples(
        kernel=state.kernel.cpu().numpy(),
        output=state.output.cpu().numpy(),
        loss=state.loss.cpu().numpy(),
        eigenvalues=state.eigenvalues.cpu().numpy(),
        weights=(
            tuple(block[0].cpu().numpy() for block in state.weights)
            if sampler.keep_weights
            else None
        ),
        stiffness=state.stiffness,
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
    )


def find_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``. Raises DeviceError if there is no GPU for cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device: got 'cuda', but there is no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def fingerprint(run: Run, task: Task, start_kernel: Array | None, device: torch.device) -> str:
    """Hash of everything the draws depend on, the sampling code included: the checkpoint's key."""
    digest = hashlib.sha256(run.model_dump_json().encode())
    for array in (task.inputs, task.targets, task.supervised, start_kernel):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    for module in (networks, langevin, initial, inspect.getmodule(sample)):
        assert module is not None
        digest.update(inspect.getsource(module).encode())
    digest.update(f"{torch.__version__} {device.type}".encode())
    return digest.hexdigest()


def save_checkpoint(state: ChainState, path: Path, key: str) -> None:
    """Write the state as safetensors, atomically."""
    tensors = {
        "memory": state.memory,
        "streams": torch.stack([stream.get_state() for stream in state.streams]),
        "kernel": state.kernel,
        "output": state.output,
        "loss": state.loss,
        "eigenvalues": state.eigenvalues,
        "stiffness": torch.tensor(state.stiffness, dtype=torch.float64),
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(state.step), "key": key})


def _resume(
    path: Path | None, key: str, sampler: Sampler, posterior: Posterior
) -> ChainState | None:
    """The state in a checkpoint; None if there is none, or none that belongs to this run."""
    if path is None or not path.exists():
        return None
    device = posterior.inputs.device
    try:
        with safe_open(path, framework="pt") as stored:
            if stored.metadata()["key"] != key:
                log.warning("%s: belongs to other parameters or code; starting anew", path)
                return None
            step = int(stored.metadata()["step"])
            # Copies: the tensors handed out are views of the file.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        log.warning("%s: damaged; starting anew", path)
        return None
    streams = []
    for generator_state in tensors["streams"]:
        streams.append(torch.Generator(device))
        streams[-1].set_state(generator_state.clone())  # reads from the start of the storage
    memory = tensors["memory"].to(device)
    features = posterior.inputs.shape[2]
    log.info("resuming at step %d of %d", step, sampler.total_steps)
    return ChainState(
        step=step,
        memory=memory,
        weights=initial.weights_in(memory, posterior.architecture, sampler.width, features),
        streams=streams,
        kernel=tensors["kernel"].to(device),
        output=tensors["output"].to(device),
        loss=tensors["loss"].to(device),
        eigenvalues=tensors["eigenvalues"].to(device),
        stiffness=float(tensors["stiffness"]),
    )


def _begin(run: Run, posterior: Posterior, start_kernel: Array | None) -> ChainState:
    """Step 0: random streams, first weights, room for the draws."""
    sampler, architecture = run.sampler, run.architecture
    steps, patterns, features = posterior.inputs.shape
    device, dtype = posterior.inputs.device, posterior.inputs.dtype
    seeds = np.random.SeedSequence(run.seed).spawn(sampler.chains)
    streams = [
        torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        for seed in seeds
    ]

    size = initial.weight_count(architecture, sampler.width, features)
    memory = torch.empty(sampler.chains, size, device=device, dtype=dtype)
    weights = initial.weights_in(memory, architecture, sampler.width, features)
    _fill(memory, streams)
    first = initial.from_prior(architecture, weights)
    if start_kernel is not None:
        activities = memory.new_empty(sampler.chains, sampler.width, steps * patterns)
        _fill(activities, streams)
        first = initial.from_kernel(start_kernel, posterior, activities, first)
    for block, value in zip(weights, first, strict=True):
        block.copy_(value)

    draws = (sampler.chains, sampler.draws)
    return ChainState(
        step=0,
        memory=memory,
        weights=weights,
        streams=streams,
        kernel=memory.new_zeros(*draws, patterns, patterns, steps, steps),
        output=memory.new_zeros(*draws, steps, patterns),
        loss=memory.new_zeros(draws),
        eigenvalues=memory.new_zeros(
            sampler.chains, sampler.spectra, architecture.weight_matrices, sampler.width, 2
        ),
        stiffness=0.0,
    )


def _ramped(posterior: Posterior, step: int, sampler: Sampler) -> Posterior:
    """The posterior with the labels of this step: they grow to their size over the ramp."""
    if step >= sampler.ramp_steps:
        return posterior
    return replace(posterior, targets=posterior.targets * ((step + 1) / sampler.ramp_steps))


def _fill(memory: Tensor, streams: list[torch.Generator]) -> None:
    """Standard normal deviates, each chain's from its own stream."""
    for row, stream in zip(memory, streams, strict=True):
        row.normal_(generator=stream)


def _record(state: ChainState, draw: int, posterior: Posterior, sampler: Sampler) -> None:
    """Keep kernel, outputs, loss and, where due, eigenvalues of the present weights, on the device."""
    activities = networks.forward(state.weights, posterior.inputs, posterior.architecture)
    output = networks.outputs(state.weights, activities)
    error = posterior.supervised * (posterior.targets - output)
    state.kernel[:, draw] = networks.kernel(activities.pre)
    state.output[:, draw] = output
    state.loss[:, draw] = 0.5 * error.square().sum((1, 2))
    if sampler.spectra and (draw + 1) % (sampler.draws // sampler.spectra) == 0:
        spectrum = (draw + 1) // (sampler.draws // sampler.spectra) - 1
        values = torch.linalg.eigvals(state.weights.recurrent)
        state.eigenvalues[:, spectrum] = torch.view_as_real(values)


def _check(state: ChainState, posterior: Posterior, sampler: Sampler) -> None:
    """Stop a chain that has diverged or whose step size is too large for the curvature."""
    eta = sampler.step_size
    finite = torch.isfinite(state.memory).all(dim=1)
    if not bool(finite.all()):
        chain = int(torch.nonzero(~finite)[0])
        raise DivergenceError(
            f"chain {chain} diverged before step {state.step}: its weights are not finite; "
            f"lower step_size, now {eta:g}"
        )
    curvature = float(langevin.curvature(state.weights, posterior).max())
    state.stiffness = max(state.stiffness, eta * curvature)
    if not eta * curvature <= LARGEST_STIFFNESS:
        raise StepSizeError(
            f"step_size: {eta:g} is too large at step {state.step}: the curvature of the energy is "
            f"{curvature:.3g}; use at most {0.5 / curvature:.1g}"
        )
