"""Effective samples per second of the order parameter |m|, by each of the samplers.

Figure 4's networks above the transition. The kernel's relaxation in the time of the dynamics does not
depend on N (docs/theory.md, section 2). Hence effective samples are counted for each unit of time at a
width that can be run for long, and a step is timed at the width asked for.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
import xarray as xr

from bench.clock import seconds, table
from weightsharing.measures.estimate import estimate
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

log = logging.getLogger(__name__)

STEPS, KAPPA, SIGNAL = 4, 0.1, 5.0
CHAINS = 4

SAMPLERS: dict[str, SamplerSettings] = {
    "sgld": LangevinSettings(
        method="sgld", width=128, step_size=5e-4, burn_in=10.0, duration=100.0, draws=1000,
        chains=CHAINS, precision="float32", start="prior",
    ),
    "kinetic, readout sampled": KineticSettings(
        method="kinetic", readout="sampled", width=128, step_size=0.03, friction=0.5, refresh=8,
        burn_in=20.0, duration=600.0, draws=1000, chains=CHAINS, precision="float32", start="prior",
    ),
    "kinetic": KineticSettings(
        method="kinetic", width=128, step_size=0.2, friction=0.12, refresh=4, burn_in=30.0,
        ramp=10.0, duration=2000.0, draws=1000, chains=CHAINS, precision="float32", start="prior",
    ),
    "exact": ExactSettings(
        method="exact", width=128, warm_up=100, thinning=2, leapfrog_steps=8, draws=1000,
        chains=CHAINS, start="prior",
    ),
}  # fmt: skip


def measure(width: int) -> xr.Dataset:
    """Effective samples of |m| by each sampler, with steps at this width.

    effective_samples_per_step: by a step of all chains. sampler_step_seconds: of such a step.
    sampler_bias: mean |m| minus the theory's at the width of the count, in standard errors.
    """

    def of_sampler(name: str) -> dict[str, float]:
        run = _run(SAMPLERS[name])
        (samples,) = sample(run, [run.tasks[0]])
        order = estimate(np.abs(samples["kernel"].to_numpy()[:, :, 0, 0, -1, -2]))
        problem = linear_problem(run.tasks[0], run.architecture, KAPPA)
        law = order_parameter_law(problem, run.sampler.width)
        per_step = float(order.effective_size) / (run.sampler.draw_every * run.sampler.draws)
        step_seconds = _step_seconds(_run(run.sampler.model_copy(update={"width": width})))
        return {
            "effective_samples_per_second": per_step / step_seconds,
            "effective_samples_per_step": per_step,
            "sampler_step_seconds": step_seconds,
            "sampler_bias": float((order.mean - law.mean) / order.standard_error),
        }

    measured = table(of_sampler, sampler=list(SAMPLERS)).assign_coords(sampler_width=width)
    rates = measured["effective_samples_per_second"]
    log.info("times SGLD:\n%s", (rates / rates.sel(sampler="sgld")).to_series().to_string())
    return measured


def _step_seconds(run: Run) -> float:
    """Seconds of a step of all chains, after any warm-up."""
    device = find_device(run.device)
    _, sampler = build_sampler(single(run, run.tasks[0]), device)
    streams = new_streams(run.seed, CHAINS, device)
    count = 0
    with torch.inference_mode():
        state = sampler.init(streams)

    def step() -> None:
        nonlocal state, count
        with torch.inference_mode():
            state = sampler.step(state, streams, count)
        count += 1

    if isinstance(run.sampler, ExactSettings):
        for _ in range(run.sampler.warm_up):
            step()
    return seconds(step, device, least=1.0)


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
