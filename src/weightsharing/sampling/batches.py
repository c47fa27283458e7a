"""Which members of a family move together; private to sampling.

Members differ in their supervised outputs only. Their chains are one batch where that makes a step
cheaper. Outside of sampling only the names of checkpoints and progress show batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.sampling.checkpoint import batch_names, checkpoint_of
from weightsharing.sampling.run import Run

# Bytes for the states of the chains of a batch, by device. On a CPU they fit its cache.
BATCH_BYTES = {"cpu": 16 * 2**20, "cuda": 4 * 2**30}


@dataclass(frozen=True)
class Batch:
    """Members of a run whose chains move together, member by member.

    name: of messages. members: their runs, of a single task each. starts: H of the first activities of
    each chain, (chain, T P, T P); None for the prior. checkpoint: its file.
    """

    name: str
    members: tuple[Run, ...]
    tasks: tuple[Task, ...]
    starts: Array | None
    checkpoint: Path | None

    def chains_of(self, member: int) -> slice:
        """The chains of a member."""
        chains = self.members[0].sampler.chains
        return slice(member * chains, (member + 1) * chains)


def single(
    run: Run, task: Task, start: Array | None = None, checkpoint: Path | None = None
) -> Batch:
    """The batch of a run that is no family."""
    return batches(run, [task], [start], checkpoint, torch.device("cpu"))[0]


def batches(
    run: Run,
    tasks: Sequence[Task],
    starts: Sequence[Array | None],
    checkpoint: Path | None,
    device: torch.device,
) -> list[Batch]:
    """The batches of a run; tasks and starts are those of its members."""
    size = batch_size(run, device)
    made = []
    for name, first in zip(batch_names(run, size), range(0, len(run.members), size), strict=True):
        chosen = slice(first, first + size)
        kernels = [kernel for kernel in starts[chosen] if kernel is not None]
        made.append(
            Batch(
                name=name,
                members=run.members[chosen],
                tasks=tuple(tasks[chosen]),
                starts=np.repeat(np.stack(kernels), run.sampler.chains, axis=0)
                if kernels
                else None,
                checkpoint=checkpoint and checkpoint_of(checkpoint, run, name),
            )
        )
    return made


def batch_size(run: Run, device: torch.device) -> int:
    """How many members move together: as many as make a step cheaper.

    A small state costs the calls of its operations, however many chains they move. The weights of one
    member keep a CPU busy; a GPU needs those of many.
    """
    settings = run.sampler
    if device.type == "cpu" and not settings.many_members_on_cpu:
        return 1
    numbers = settings.numbers_of_a_chain(run.architecture, run.task.patterns)
    return max(1, BATCH_BYTES[device.type] // (8 * settings.chains * numbers))
