"""Chains of a run: burn-in, draws, checks, checkpoints.

Each chain has a random stream of its own. A checkpoint holds the states, the streams and the draws so
far. On a CPU, a chain that is killed and resumed ends bitwise equal to one left alone.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import xarray as xr
from torch import Tensor

from weightsharing.code import code_hash
from weightsharing.errors import ChainError, InterruptedRunError, UserError
from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.sampling import SamplerSettings, algorithm, posterior
from weightsharing.sampling.batches import (
    Batch,
    batches,
)
from weightsharing.sampling.checkpoint import Checkpoint
from weightsharing.sampling.device import device_name, find_device, gpu_errors
from weightsharing.sampling.draws import Draws, no_draws, record, samples_dataset
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Sampler, finite, state_of, tensors_of
from weightsharing.sampling.random import Streams, new_streams
from weightsharing.sampling.run import Run

log = logging.getLogger(__name__)

# Seconds between two reports of progress.
PROGRESS_SECONDS = 1.0

# Is told (steps done, steps in all).
Progress = Callable[[int, int], None]


def silent(name: str) -> Progress:
    """No report of progress."""
    return lambda done, total: None


@dataclass
class Chains:
    """A batch of chains between two steps.

    step: steps done. state: the sampler's. stiffness: largest step seen, relative to the limit of
    stability, (chain,).
    """

    step: int
    state: Any
    streams: Streams
    draws: Draws
    stiffness: Tensor


def sample(
    run: Run,
    tasks: Sequence[Task],
    starts: Sequence[Array | None] | None = None,
    *,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: Callable[[str], Progress] = silent,
    stopping: Callable[[], bool] = lambda: False,
) -> list[xr.Dataset]:
    """Draws of each member of a run by its sampler: kernels, outputs and loss, with named axes.

    A run that is no family has one member. The chains of several members may move in one batch, each
    by its own random numbers: at each step up to rounding as if alone.

    tasks: of the members. starts: H of the first activities of each member, (T P, T P), None for the
    prior. checkpoint: file to resume from if it exists, written every ``checkpoint_seconds`` and at the
    end; batches of a family add to its name. ``remove_checkpoints`` removes them. progress:
    makes for each batch's name a function that is told (steps done, steps in all). stopping: asked after
    each step; if true, the chains stop with a checkpoint.

    Raises, naming run or member: DeviceError, StepSizeError or DivergenceError with advice,
    InterruptedRunError, FileError if a checkpoint cannot be written. ValueError if inputs differ.
    """
    with _errors_of(run.id):
        device = find_device(run.device)
    datasets = []
    starts = [None] * len(tasks) if starts is None else starts
    for batch in batches(run, tasks, starts, checkpoint, device):
        started = time.monotonic()
        with _errors_of(batch.name, batch):
            drawn = sample_batch(batch, device, checkpoint_seconds, progress(batch.name), stopping)
        for dataset in drawn:
            dataset.attrs["wall_seconds"] = (time.monotonic() - started) / len(drawn)
        datasets += drawn
    return datasets


@contextmanager
def _errors_of(name: str, batch: Batch | None = None) -> Iterator[None]:
    """Puts a name in front of errors: that of the member whose chain failed, or ``name``."""
    try:
        yield
    except ChainError as error:
        assert batch is not None
        member = batch.members[error.chain // batch.members[0].sampler.chains]
        raise type(error)(f"{member.id}: {error}", error.chain) from error
    except UserError as error:
        raise type(error)(f"{name}: {error}") from error


@torch.inference_mode()
def sample_batch(
    batch: Batch,
    device: torch.device,
    checkpoint_seconds: float,
    progress: Progress,
    stopping: Callable[[], bool],
) -> list[xr.Dataset]:
    """The draws of each member of a batch; ``sample`` says what the arguments are."""
    settings = batch.members[0].sampler
    checkpoint = Checkpoint(batch.checkpoint, fingerprint(batch, device), checkpoint_seconds)
    chains: Chains | None = None

    def failed(reason: str) -> str:
        step = 0 if chains is None else chains.step
        return f"GPU failed at step {step}: {reason}; {checkpoint.outlook()}"

    with gpu_errors(failed):
        target, sampler = build_sampler(batch, device)
        chains = resume(checkpoint, sampler, device, settings.total_steps)
        if chains is None:
            chains = begin(batch, target, sampler)
            chains.stiffness = sampler.check(chains.state, 0)
        finish(chains, sampler, settings, checkpoint, progress, stopping)
        return [
            _dataset(chains, sampler, settings, batch.chains_of(member))
            for member in range(len(batch.members))
        ]


def build_sampler(batch: Batch, device: torch.device) -> tuple[Posterior, Sampler[Any]]:
    """The posterior of a batch in the sampler's precision, and the sampler of it."""
    run = batch.members[0]
    settings = run.sampler
    target = posterior.build(
        batch.tasks,
        run.architecture,
        run.kappa,
        device,
        getattr(torch, settings.precision),
        settings.chains,
    )
    sampler: Sampler[Any] = import_module(algorithm(settings)).build(target, settings, batch.starts)
    return target, sampler


def begin(batch: Batch, target: Posterior, sampler: Sampler[Any]) -> Chains:
    """Step 0: random streams, first states, memory for the draws."""
    settings = batch.members[0].sampler
    streams = [
        stream
        for member in batch.members
        for stream in new_streams(member.seed, settings.chains, target.inputs.device)
    ]
    return Chains(
        step=0,
        state=sampler.init(streams),
        streams=streams,
        draws=no_draws(len(streams), settings, target, len(sampler.identities)),
        stiffness=target.inputs.new_zeros(len(streams)),
    )


def finish(
    chains: Chains,
    sampler: Sampler[Any],
    settings: SamplerSettings,
    checkpoint: Checkpoint,
    progress: Progress,
    stopping: Callable[[], bool],
) -> None:
    """Make all steps that are left. Raises InterruptedRunError when asked to stop."""
    shown, total = time.monotonic(), settings.total_steps
    while chains.step < total:
        chains.state = sampler.step(chains.state, chains.streams, chains.step)
        chains.step += 1
        ended = chains.step == total
        sampled = chains.step - settings.burn_in_steps
        if sampled > 0 and sampled % settings.draw_every == 0:
            number = sampled // settings.draw_every - 1
            record(chains.draws, number, sampler, chains.state, chains.streams)
        # At powers of two as well: an unstable chain diverges within few steps.
        power_of_two = chains.step & (chains.step - 1) == 0
        if chains.step % sampler.check_every == 0 or power_of_two or ended:
            stiffness = sampler.check(chains.state, chains.step)
            chains.stiffness = chains.stiffness.maximum(stiffness)
        if time.monotonic() - shown >= PROGRESS_SECONDS or ended:
            progress(chains.step, total)
            shown = time.monotonic()
        stop = stopping() and not ended
        if stop or ended or checkpoint.is_due():
            keep(chains, checkpoint)
        if stop:
            raise InterruptedRunError(
                f"interrupted at step {chains.step} of {total}; {checkpoint.outlook()}"
            )


def _dataset(
    chains: Chains,
    sampler: Sampler[Any],
    settings: SamplerSettings,
    chosen: slice,
) -> xr.Dataset:
    """The draws of the chains of a member, and what became of them as attributes."""
    dataset = samples_dataset(chains.draws, chosen, settings, sampler.identities)
    dataset.attrs = {
        "sampler": settings.method,
        "width": settings.width,
        "steps": settings.total_steps,
        "stiffness": float(chains.stiffness[chosen].max()),
        "device": device_name(chains.stiffness.device),
        "precision": settings.precision,
    }
    parts = {path: part[chosen] for path, part in tensors_of(chains.state).items()}
    acceptance = sampler.acceptance(state_of(sampler.state_type, parts))
    if acceptance is not None:
        dataset.attrs["acceptance"] = acceptance
    return dataset


# --- checkpoints ------------------------------------------------------------------------------


def fingerprint(batch: Batch, device: torch.device) -> str:
    """The key of a batch's checkpoint: a hash of all that its draws depend on.

    That is the parameters, tasks and starts, the code of chains and of this sampler alone, the versions
    of PyTorch and Numba, and the type of the device.
    """
    digest = hashlib.sha256()
    for member, task in zip(batch.members, batch.tasks, strict=True):
        digest.update(member.model_dump_json().encode())
        for array in (task.inputs, task.targets, task.supervised):
            digest.update(np.ascontiguousarray(array).tobytes())
    digest.update(b"prior" if batch.starts is None else batch.starts.tobytes())
    digest.update(code_hash(__name__, algorithm(batch.members[0].sampler)).encode())
    digest.update(f"{torch.__version__} {numba.__version__} {device.type}".encode())
    return digest.hexdigest()


def keep(chains: Chains, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, but never of diverged states: the next check reports them."""
    tensors = tensors_of(chains.state)
    if bool(finite(tensors.values()).all()):
        tensors |= tensors_of(chains.draws, "draws")
        tensors["streams"] = torch.stack([stream.get_state() for stream in chains.streams])
        tensors["stiffness"] = chains.stiffness
        arrays = {path: tensor.cpu().numpy() for path, tensor in tensors.items()}
        checkpoint.save(chains.step, arrays)


def resume(
    checkpoint: Checkpoint, sampler: Sampler[Any], device: torch.device, total_steps: int
) -> Chains | None:
    """The chains in a checkpoint; None without one that belongs to them."""
    found = checkpoint.load()
    if found is None:
        return None
    step, arrays = found
    log.info("resuming at step %d of %d", step, total_steps)
    streams = []
    for state in arrays.pop("streams"):
        streams.append(torch.Generator(device))
        streams[-1].set_state(torch.from_numpy(state.copy()))  # reads from the start of the storage
    tensors = {path: torch.from_numpy(array).to(device) for path, array in arrays.items()}
    return Chains(
        step=step,
        state=state_of(sampler.state_type, tensors),
        streams=streams,
        draws=state_of(Draws, tensors, "draws"),
        stiffness=tensors["stiffness"],
    )
