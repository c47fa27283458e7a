"""Effective samples per second of the order parameter |m|, by each of the samplers.

The networks are those of figure 4 above the transition. In the time of the dynamics, the relaxation
of the kernel does not depend on N (docs/theory.md, section 2). Effective samples are therefore
counted at a small width, where long runs are cheap. A step is timed at the requested width.
"""

from __future__ import annotations

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


def measure(name: str, width: int) -> dict[str, float]:
    """Cost of one sampler, with steps of ``width``.

    Effective samples of |m| per second and per step of all chains; seconds of such a step. Bias: mean
    |m| minus its theoretical value at the width of the counted samples, in standard errors.
    """
    run = _run(SAMPLERS[name])
    task = run.tasks[0]
    magnitude = _order_parameter(run)
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
        # Time the sampler in its state after the warm-up.
        for _ in range(run.sampler.warm_up):
            step()
    per_step = float(magnitude.effective_size) / steps
    step_seconds = seconds(step, device, least=1.0)
    return {
        "effective_samples_per_second": per_step / step_seconds,
        "effective_samples_per_step": per_step,
        "sampler_step_seconds": step_seconds,
        "sampler_bias": float((magnitude.mean - law.mean) / magnitude.standard_error),
    }


def _order_parameter(run: Run) -> Estimate:
    """|m|: magnitude of the kernel between the last two times."""
    (samples,) = sample(run, [run.tasks[0]])
    kernel = samples["kernel"].to_numpy()
    return estimate(np.abs(kernel[:, :, 0, 0, -1, -2]))


def _run(sampler: SamplerSettings) -> Run:
    return Run(
        id="bench/efficiency", seed=1, device="auto", kappa=KAPPA, sampler=sampler,
        architecture=Architecture(kind="rnn", steps=STEPS),
        task=EndpointTask(labels=(SIGNAL**0.5,)),
    )  # fmt: skip
