"""Deliberately wrong programs: which rows of the scorecard turn red.

A mutation changes what networks sample or what the theory computes, while files keep the parameters of
the right program. ``tests/mutations`` runs all of them on all figures (`make test-mutations`) and prints
the table of docs/validation.md; ``tests/test_mutations.py`` runs a slice.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import xarray as xr
from weight_steps import weaker_noise

from weightsharing.config import load, runs
from weightsharing.figures.claims import Claim
from weightsharing.figures.results import Result, Results, Scan
from weightsharing.figures.scorecard import scorecard
from weightsharing.measures.compare import compare
from weightsharing.model.activations import ACTIVATIONS, Activation
from weightsharing.model.task import Task
from weightsharing.sampling.chain import sample
from weightsharing.sampling.initial import start_kernel
from weightsharing.sampling.run import Run
from weightsharing.theory.curves import scan
from weightsharing.theory.scan import Transition
from weightsharing.theory.solve import solve

ROOT = Path(__file__).parent.parent
STUDY = Path(__file__).parent / "mutations" / "study.yaml"


@dataclass(frozen=True)
class Mutation:
    """A wrong program. It is one by the run and the tasks that networks really have, or by a patch.

    networks: whether it concerns networks of a run; others are those of the right program. run, task:
    what they really sample. patch: in force while they sample. outputs: changes their draws. theory:
    changes what is computed for them.
    """

    words: str
    networks: Callable[[Run], bool] = lambda run: True
    run: Callable[[Run], Run] = lambda run: run
    task: Callable[[Task], Task] = lambda task: task
    patch: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    theory: Callable[[xr.Dataset], xr.Dataset] = lambda theory: theory
    outputs: Callable[[xr.Dataset], xr.Dataset] = lambda samples: samples


def _not_shared(run: Run) -> Run:
    return run.model_copy(
        update={"architecture": run.architecture.model_copy(update={"kind": "dnn"})}
    )


def _hotter(run: Run) -> Run:
    return run.model_copy(update={"kappa": 1.1 * run.kappa})


def _untrained(run: Run) -> Run:
    """Chains that begin untrained: the theory's phase of the right task is a steep place of this one."""
    settings: dict[str, object] = {"start": "prior"}
    if run.sampler.method == "kinetic":
        settings["ramp"] = run.sampler.burn_in / 2.0
    return run.model_copy(update={"sampler": run.sampler.model_copy(update=settings)})


def _flipped(task: Task) -> Task:
    targets = task.targets.copy()
    targets[0] *= -1.0
    return dataclasses.replace(task, targets=targets)


def _shifted(task: Task) -> Task:
    """Output time t reads h^t: it is asked for the target of t + 1, and the last for that of 1."""
    return dataclasses.replace(
        task,
        targets=np.roll(task.targets, -1, axis=1),
        supervised=np.roll(task.supervised, -1, axis=1),
    )


def _shifted_back(samples: xr.Dataset) -> xr.Dataset:
    return samples.assign(output=samples["output"].roll(output_time=1, roll_coords=False))


def _plain_erf() -> contextlib.AbstractContextManager[object]:
    plain = Activation(torch.erf, lambda h: 2.0 / np.sqrt(np.pi) * torch.exp(-(h**2)), odd=True)
    return mock.patch.dict(ACTIVATIONS, {"erf": plain})


def _without_corrections(theory: xr.Dataset) -> xr.Dataset:
    changed = {
        name: xr.zeros_like(theory[name])
        for name in ("kernel_correction", "prediction_correction")
        if name in theory
    }
    return theory.assign(changed)


def _is_shared(run: Run) -> bool:
    return run.architecture.kind == "rnn"


MUTATIONS = {
    "not shared": Mutation("W not shared among the steps of RNNs", _is_shared, _not_shared),
    "kappa": Mutation("kappa 1.1 times too large", run=_hotter),
    "erf": Mutation(
        "erf without the factor sqrt(pi)/2",
        lambda run: run.architecture.activation == "erf" and run.sampler.method == "exact",
        patch=_plain_erf,
    ),
    "1/N": Mutation("1/N term dropped", lambda run: False, theory=_without_corrections),
    "noise": Mutation(
        "noise of the dynamics 5 % too small",
        lambda run: run.sampler.method != "exact",
        patch=lambda: weaker_noise(0.95),
    ),
    "labels": Mutation(
        "labels of one pattern flipped", lambda run: run.task.patterns > 1, task=_flipped
    ),
    "readout": Mutation(
        "time of the readout shifted by one", run=_untrained, task=_shifted, outputs=_shifted_back
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Study:
    """Runs of a configuration and the right program's draws.

    figures: how the ids of the runs begin. Figure S1 is left out: its claims need many widths and draws.
    """

    paths: tuple[Path, ...]
    figures: tuple[str, ...] = ("fig2", "fig3", "fig4", "fig5")

    @cached_property
    def runs(self) -> list[Run | Transition]:
        """All runs and theory scans."""
        every = runs(load(list(self.paths))).values()
        return [run for run in every if run.id.startswith(self.figures)]

    @cached_property
    def scans(self) -> list[Scan]:
        """The theory scans."""
        return [Scan(run, scan(run)) for run in self.runs if isinstance(run, Transition)]

    @cached_property
    def right(self) -> dict[str, list[xr.Dataset]]:
        """The draws of the right program."""
        return {run.id: self.draws(run, Mutation("")) for run in self.runs if isinstance(run, Run)}

    def draws(self, run: Run, mutation: Mutation) -> list[xr.Dataset]:
        """What the networks of a run do in a wrong program."""
        really, tasks = mutation.run(run), [mutation.task(task) for task in run.tasks]
        torch.set_num_threads(1)  # small states
        start = really.sampler.start
        starts = [
            None if start == "prior" else start_kernel(start, _theory(run, index))
            for index in range(len(tasks))
        ]
        with mutation.patch():
            drawn = sample(really, tasks, starts)
        return [mutation.outputs(one) for one in drawn]

    def rows(self, mutation: Mutation) -> list[Claim]:
        """The scorecard of a wrong program."""
        results = []
        for run in self.runs:
            if isinstance(run, Transition):
                continue
            wrong = mutation.networks(run) and mutation.words != ""
            draws = self.draws(run, mutation) if wrong else self.right[run.id]
            for index, (member, task) in enumerate(zip(run.members, run.tasks, strict=True)):
                theory = mutation.theory(_theory(run, index))
                results.append(Result.of(member, compare(member, task, theory, draws[index])))
        return scorecard(Results(tuple(results), tuple(self.scans)))


_THEORIES: dict[tuple[str, int], xr.Dataset] = {}


def _theory(run: Run, member: int) -> xr.Dataset:
    """The theory of a member of a run, solved once for all samplers."""
    key = run.theory_key, member
    if key not in _THEORIES:
        _THEORIES[key] = solve(run.tasks[member], run.architecture, run.kappa)
    return _THEORIES[key]


def red(rows: Sequence[Claim]) -> list[str]:
    """Rows of networks against theory that fail."""
    return [row.id for row in rows if row.kind == "networks" and row.verdict == "fail"]


def doubted(rows: Sequence[Claim]) -> list[str]:
    """Rows without a verdict because runs did not converge or are not in equilibrium."""
    return [row.id for row in rows if row.verdict == "not converged"]


def line(words: str, rows: Sequence[Claim]) -> str:
    """A line of the table of wrong programs."""
    found = red(rows)
    shown = ", ".join(f"`{name}`" for name in found[:4])
    return f"| {words} | {len(found)} | {len(doubted(rows))} | {shown} |"
