"""Effective samples per second of the order parameter |m|, by each of the samplers.

Figure 4's networks above the transition. The relaxation of the kernel does not depend on N in the
time of the dynamics (docs/theory.md, section 2), so effective samples are counted for each unit of
time at a width that can be run for long, and a step is timed at the width asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from bench.clock import seconds
from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.architecture import Architecture
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.batches import single
from weightsharing.sampling.chain import build_sampler, sample
from weightsharing.sampling.device import find_device
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import LangevinSettings
from weightsharing.theory.finite_width import order_parameter_law
from weightsharing.theory.problem import linear_problem

STEPS, KAPPA, SIGNAL = 4, 0.1, 5.0
CHAINS = 4

SAMPLERS: dict[str, SamplerSettings] = {
    "sgld": LangevinSettings(
        method="sgld", width=128, step_size=5e-4, burn_in=10.0, duration=100.0, draws=1000,
        chains=CHAINS, precision="float32", start="prior",
    ),
    "kinetic": KineticSettings(
        method="kinetic", width=128, step_size=0.03, friction=0.5, refresh=8, burn_in=20.0,
        duration=600.0, draws=1000, chains=CHAINS, precision="float32", start="prior",
    ),
    "exact": ExactSettings(
        method="exact", width=128, warm_up=100, thinning=2, leapfrog_steps=8, draws=1000,
        chains=CHAINS, start="prior",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Efficiency:
    """One sampler's cost.

    per_step: effective samples of |m| per step of all chains. step_seconds: of such a step at the
    width asked for. bias: mean |m| minus the theory's at the width it was counted at, in standard
    errors.
    """

    per_step: float
    step_seconds: float
    bias: float

    @property
    def per_second(self) -> float:
        """Effective samples per second."""
        return self.per_step / self.step_seconds


def measure(name: str, width: int) -> Efficiency:
    """Effective samples of a sampler, and the time of its step at ``width``."""
    run = _run(SAMPLERS[name])
    task = run.tasks[0]
    found = _order_parameter(run)
    law = order_parameter_law(linear_problem(task, run.architecture, KAPPA), run.sampler.width)
    steps = run.sampler.draw_every * run.sampler.draws
    wide = _run(run.sampler.model_copy(update={"width": width}))
    device = find_device(run.device)
    _, sampler = build_sampler(single(wide, task), device)
    streams = new_streams(wide.seed, CHAINS, device)
    count = 0
    with torch.inference_mode():
        state = sampler.init(streams)

    def step() -> None:
        nonlocal state, count
        with torch.inference_mode():
            state = sampler.step(state, streams, count)
        count += 1

    if isinstance(run.sampler, ExactSettings):
        # Time it as it is after the warm-up.
        for _ in range(run.sampler.warm_up):
            step()
    return Efficiency(
        per_step=float(found.effective_size) / steps,
        step_seconds=seconds(step, device, least=1.0),
        bias=float((found.mean - law.mean) / found.standard_error),
    )


def _order_parameter(run: Run) -> Estimate:
    (samples,) = sample(run, [run.tasks[0]])
    kernel = samples["kernel"].to_numpy()
    return estimate(np.abs(kernel[:, :, 0, 0, -1, -2]))


def _run(sampler: SamplerSettings) -> Run:
    return Run(
        id="bench/efficiency",
        seed=1,
        device="auto",
        architecture=Architecture(kind="rnn", steps=STEPS),
        kappa=KAPPA,
        task=EndpointTask(labels=(SIGNAL**0.5,)),
        sampler=sampler,
    )
