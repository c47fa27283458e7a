"""Running a batch of chains: burn-in, draws, checks, checkpoints.

A batch holds the chains of one run, or of several members of a family, which differ in what they are
supervised at: member by member, each with its own random streams.
What is kept of each draw is its kernels, its outputs and its loss, and of some the eigenvalues of the
recurrent matrices; not its weights. Means, error bars and diagnostics are computed from them later.
A checkpoint holds the states, the random streams and the draws so far: a chain that is killed and
resumed ends bitwise equal to one left alone, on a CPU. It carries a hash of all of them, so that none is
resumed from that is damaged.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from weightsharing.errors import DeviceError, InterruptedRunError
from weightsharing.files import replacing
from weightsharing.model import network as networks
from weightsharing.model.axes import Array
from weightsharing.model.tasks import Task
from weightsharing.sampling import (
    collective,
    compiled,
    cpu,
    dynamics,
    exact,
    fused,
    gpu,
    graphs,
    initial,
    kinetic,
    langevin,
    marginal,
    posterior,
    weights,
)
from weightsharing.sampling.dynamics import Dynamics, Streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.settings import ExactSettings, SamplerSettings

log = logging.getLogger(__name__)

# Bytes of the states of chains that move together, by device. On a CPU they fit a cache.
ROOM = {"cpu": 16 * 2**20, "cuda": 4 * 2**30}
# Seconds between two reports of progress.
PROGRESS_SECONDS = 1.0
# How checkpoints name the types of their numbers.
DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64", torch.uint8: "U8"}
# The modules that decide what is drawn.
CODE = (
    networks,
    posterior,
    initial,
    langevin,
    kinetic,
    compiled,
    cpu,
    weights,
    marginal,
    collective,
    exact,
    dynamics,
    fused,
    gpu,
    graphs,
)

# What PyTorch's errors of a GPU contain: lost, out of memory, failed in a library.
GPU_ERRORS = ("CUDA", "cuSOLVER")

Progress = Callable[[int, int], None]


@dataclass
class ChainState:
    """A batch of chains between two steps; the arrays of draws fill up in place.

    memory: (chain, size), the states. streams: one generator per chain. kernel, activation_kernel:
    (chain, draw, pattern, pattern_, time, time_); the second is empty for linear networks, where it
    equals the first. output: (chain, draw, output_time, pattern). loss: 1/2 sum_S (y - f)^2,
    (chain, draw). eigenvalues: real and imaginary part, (chain, spectrum, matrix, unit, 2).
    stiffness: largest step seen, relative to the limit of stability, (chain,).
    """

    step: int
    memory: Tensor
    streams: Streams
    kernel: Tensor
    activation_kernel: Tensor
    output: Tensor
    loss: Tensor
    eigenvalues: Tensor
    stiffness: Tensor


# What is kept of the draws, by name: these fields go to the checkpoint as they are.
DRAWN = ("kernel", "activation_kernel", "output", "loss", "eigenvalues")


@dataclass(frozen=True)
class Member:
    """A run of a single task, and H of its first activities, (T P, T P); None starts from the prior."""

    run: Run
    task: Task
    start_kernel: Array | None = None


@dataclass(frozen=True)
class Samples:
    """The draws of all chains of a member, on the CPU, with the axes of ``ChainState``.

    weights: the last ones of the first chain, without the chain axis, if they were asked for.
    acceptance: share of accepted proposals, None for a sampler that proposes nothing.
    """

    kernel: NDArray[np.floating]
    activation_kernel: NDArray[np.floating]
    output: NDArray[np.floating]
    loss: NDArray[np.floating]
    eigenvalues: NDArray[np.floating]
    weights: tuple[NDArray[np.floating], ...] | None
    stiffness: float
    acceptance: float | None
    device: str


def sample(
    run: Run,
    task: Task,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    start_kernel: Array | None = None,
    progress: Progress = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Samples:
    """``sample_together`` of a single member."""
    member = Member(run, task, start_kernel)
    (samples,) = sample_together([member], checkpoint, checkpoint_seconds, progress, stopping)
    return samples


@torch.inference_mode()
def sample_together(
    members: Sequence[Member],
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Progress = lambda done, total: None,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Samples]:
    """Draw from the posteriors of members of a family by their sampler; kernels, outputs, loss of each.

    They move in one batch, each by its own random numbers: at each step up to rounding as if alone.
    checkpoint: file to resume from if it exists, written every ``checkpoint_seconds`` and at the end;
    the caller removes it once the draws are stored.
    progress: called with (steps done, steps in all). stopping: asked after each step whether to
    stop, which it does with a checkpoint.
    Raises DeviceError, StepSizeError, or DivergenceError with the advice that helps, InterruptedRunError,
    FileError if the checkpoint cannot be written, or ValueError if the members' inputs differ.
    """
    settings = members[0].run.sampler
    device = find_device(members[0].run.device)
    total_steps = settings.burn_in_steps + settings.draw_every * settings.draws
    state: ChainState | None = None
    kept: int | None = None  # step of the checkpoint
    try:
        method = find_dynamics(members, device)
        key = fingerprint(members, device)
        state = _resume(checkpoint, key, device, total_steps)
        if state is None:
            state = _begin(members, method, device)
            state.stiffness = method.check(state.memory, 0)
        else:
            kept = state.step

        saved = shown = time.monotonic()
        while state.step < total_steps:
            method.advance(state.memory, state.streams, state.step)
            state.step += 1
            ended = state.step == total_steps
            after = state.step - settings.burn_in_steps
            if after > 0 and after % settings.draw_every == 0:
                _record(state, after // settings.draw_every - 1, method, settings)
            # Powers of two as well: an unstable chain diverges within few steps.
            due = state.step % method.check_every == 0 or state.step & (state.step - 1) == 0
            if due or ended:
                state.stiffness = state.stiffness.maximum(method.check(state.memory, state.step))
            now = time.monotonic()
            if now - shown >= PROGRESS_SECONDS or ended:
                progress(state.step, total_steps)
                shown = now
            stop = stopping() and not ended
            if checkpoint is not None and (stop or ended or now - saved >= checkpoint_seconds):
                # What has diverged is no use to resume from; the next check will say that it has.
                if bool(dynamics.finite(state.memory).all()):
                    save_checkpoint(state, checkpoint, key)
                    kept = state.step
                saved = now
            if stop:
                raise InterruptedRunError(
                    f"interrupted at step {state.step} of {total_steps}; {_rerun(kept)}"
                )
        return _samples(state, method, settings, len(members))
    except RuntimeError as error:
        if not any(word in str(error) for word in GPU_ERRORS):
            raise
        step, reason = 0 if state is None else state.step, str(error).splitlines()[0]
        raise DeviceError(f"GPU failed at step {step}: {reason}; {_rerun(kept)}") from error


def _samples(
    state: ChainState, method: Dynamics, settings: SamplerSettings, members: int
) -> list[Samples]:
    """The draws of finished chains, on the CPU, for each of a number of members."""
    device = state.memory.device
    drawn = {name: getattr(state, name).cpu().numpy() for name in DRAWN}
    last = method.weights(state.memory, state.streams) if settings.keep_weights else None
    found = []
    for first in range(0, members * settings.chains, settings.chains):
        own = slice(first, first + settings.chains)
        found.append(
            Samples(
                **{name: values[own] for name, values in drawn.items()},
                weights=last and tuple(block[first].cpu().numpy() for block in last),
                stiffness=float(state.stiffness[own].max()),
                acceptance=method.acceptance(state.memory[own]),
                device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
            )
        )
    return found


def _rerun(kept: int | None) -> str:
    """What a rerun will do, given the step of the checkpoint."""
    return "a rerun starts anew" if kept is None else f"a rerun resumes at step {kept}"


def find_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu`` or ``cuda``. Raises DeviceError if there is no GPU for cuda."""
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device: got 'cuda', but there is no GPU here; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def group_size(run: Run, device: torch.device) -> int:
    """How many members of a family move together: as many as make their steps cheaper.

    The states of the exact sampler of linear networks are so small that a step is mostly the calls of
    its operations, however many chains they move. A CPU is kept busy by the weights of one member, a GPU
    by those of many. Where weights are drawn for given activities, those of all chains are held at once.
    """
    settings, architecture = run.sampler, run.architecture
    if device.type == "cpu" and not isinstance(settings, ExactSettings):
        return 1
    steps, width = architecture.steps * run.task.patterns, settings.width
    size = architecture.weight_matrices * width**2
    if isinstance(settings, ExactSettings):
        rows = steps if architecture.activation == "linear" else width
        with_weights = settings.spectra or settings.keep_weights
        size = rows * steps + collective.count(steps) ** 2 + (size if with_weights else 0)
    return max(1, ROOM[device.type] // (8 * settings.chains * size))


def find_dynamics(members: Sequence[Member], device: torch.device) -> Dynamics:
    """The dynamics of the members' sampler on their posteriors."""
    run = members[0].run
    settings = run.sampler
    dtype = torch.float32
    if isinstance(settings, ExactSettings) or settings.precision == "float64":
        dtype = torch.float64
    tasks = [member.task for member in members]
    target = posterior.build(tasks, run.architecture, run.kappa, device, dtype, settings.chains)
    kernels = [member.start_kernel for member in members if member.start_kernel is not None]
    starts = np.stack(kernels) if kernels else None
    if isinstance(settings, ExactSettings):
        return exact.dynamics(target, settings, starts)
    return weights.dynamics(target, settings, starts)


def fingerprint(members: Sequence[Member], device: torch.device) -> str:
    """Hash of everything the draws depend on, the sampling code included: the checkpoint's key."""
    digest = hashlib.sha256()
    for member in members:
        digest.update(member.run.model_dump_json().encode())
        task = member.task
        for array in (task.inputs, task.targets, task.supervised, member.start_kernel):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    for module in (*CODE, inspect.getmodule(sample)):
        assert module is not None
        digest.update(inspect.getsource(module).encode())
    digest.update(fused.KERNELS.read_bytes())
    digest.update(f"{torch.__version__} {numba.__version__} {device.type}".encode())
    return digest.hexdigest()


def save_checkpoint(state: ChainState, path: Path, key: str) -> None:
    """Write the state as safetensors, atomically. Raises FileError if that fails."""
    tensors = {name: getattr(state, name).cpu() for name in DRAWN} | {
        "memory": state.memory.cpu(),
        "streams": torch.stack([stream.get_state() for stream in state.streams]),
        "stiffness": state.stiffness.cpu(),
    }
    step = str(state.step)
    metadata = {"step": step, "key": key, "digest": _digest(tensors, step, key)}
    with replacing(path) as temporary:
        _write_safetensors(tensors, metadata, temporary)


def _write_safetensors(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write tensors in the format of safetensors: length of the header, header, data.

    Its own save_file writes to a file of random name first, which a killed process leaves for ever, and
    its save takes three times the memory.
    """
    # The widest numbers first, so that each tensor lies where its numbers may.
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().numpy().data)


def _digest(tensors: dict[str, Tensor], step: str, key: str) -> str:
    """Hash of all that a checkpoint holds."""
    digest = hashlib.sha256(f"{step} {key}".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()


def _resume(
    path: Path | None, key: str, device: torch.device, total_steps: int
) -> ChainState | None:
    """The state in a checkpoint; None if there is none, or none that belongs to this run."""
    if path is None or not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stored:
            metadata = stored.metadata()
            # Copies: the tensors handed out are views of the file.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(tensors, metadata["step"], metadata["key"]):
            raise ValueError("not as it was written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        log.warning("%s: damaged; starting anew", path)
        return None
    if metadata["key"] != key:
        log.warning("%s: belongs to other parameters or code; starting anew", path)
        return None
    step = int(metadata["step"])
    streams = []
    for generator_state in tensors["streams"]:
        streams.append(torch.Generator(device))
        streams[-1].set_state(generator_state.clone())  # reads from the start of the storage
    log.info("resuming at step %d of %d", step, total_steps)
    return ChainState(
        step=step,
        memory=tensors["memory"].to(device),
        streams=streams,
        stiffness=tensors["stiffness"].to(device),
        **{name: tensors[name].to(device) for name in DRAWN},
    )


def _begin(members: Sequence[Member], method: Dynamics, device: torch.device) -> ChainState:
    """Step 0: random streams, first states, room for the draws."""
    run, task = members[0].run, members[0].task
    settings, architecture = run.sampler, run.architecture
    streams = [
        stream
        for member in members
        for stream in dynamics.new_streams(member.run.seed, settings.chains, device)
    ]
    chains = len(streams)
    memory = torch.empty(chains, method.size, device=device, dtype=method.dtype)
    method.begin(memory, streams)
    draws = (chains, settings.draws)
    kernel = (*draws, task.patterns, task.patterns, task.steps, task.steps)
    linear = architecture.activation == "linear"
    return ChainState(
        step=0,
        memory=memory,
        streams=streams,
        kernel=memory.new_zeros(kernel),
        activation_kernel=memory.new_zeros((0,) if linear else kernel),
        output=memory.new_zeros(*draws, task.steps, task.patterns),
        loss=memory.new_zeros(draws),
        eigenvalues=memory.new_zeros(
            chains, settings.spectra, architecture.weight_matrices, settings.width, 2
        ),
        stiffness=memory.new_zeros(chains),
    )


def _record(state: ChainState, draw: int, method: Dynamics, settings: SamplerSettings) -> None:
    """Keep kernels, outputs, loss and, where due, eigenvalues of the present state, on the device."""
    seen = method.observe(state.memory, state.streams)
    state.kernel[:, draw] = seen.kernel
    if state.activation_kernel.numel():
        state.activation_kernel[:, draw] = seen.activation_kernel
    state.output[:, draw] = seen.output
    state.loss[:, draw] = seen.loss
    if settings.spectra and (draw + 1) % (settings.draws // settings.spectra) == 0:
        spectrum = (draw + 1) // (settings.draws // settings.spectra) - 1
        values = torch.linalg.eigvals(method.weights(state.memory, state.streams).recurrent)
        state.eigenvalues[:, spectrum] = torch.view_as_real(values)
