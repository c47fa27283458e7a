"""Effective samples per second of the order parameter |m|, by each of the samplers.

Figure 4's networks above the transition. Effective samples are counted for each step at a width that can
be run for long, by ten seeds; a step is timed at the width asked for. Far from the transition, the
relaxation in the time of the dynamics does not depend on N (docs/theory.md, section 2).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

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

log = logging.getLogger(__name__)

STEPS, KAPPA = 4, 0.1
CHAINS, SEEDS = 4, range(1, 11)

_SHARED: dict[str, Any] = {"width": 128, "draws": 400, "chains": CHAINS, "start": "prior"}
_SGLD: dict[str, Any] = _SHARED | {"method": "sgld", "precision": "float32"}
_KINETIC: dict[str, Any] = _SHARED | {"method": "kinetic", "precision": "float32"}
# Steps are as large as bias (Euler's) or stability allow. "sampled" and "integrated" are of the readout.
SAMPLERS: dict[str, SamplerSettings] = {
    "SGLD, Euler, sampled": LangevinSettings(
        **_SGLD, step_size=5e-4, burn_in=10.0, duration=20.0
    ),
    "SGLD, Euler, integrated": LangevinSettings(
        **_SGLD, readout="integrated", step_size=5e-3, burn_in=10.0, duration=100.0
    ),
    "SGLD": LangevinSettings(
        **_SGLD, noise="averaged", readout="integrated", step_size=0.04, burn_in=10.0,
        ramp=5.0, duration=160.0,
    ),
    "kinetic, sampled": KineticSettings(
        **_KINETIC, readout="sampled", step_size=0.04, friction=0.5, refresh=8, burn_in=20.0,
        duration=160.0,
    ),
    "kinetic": KineticSettings(
        **_KINETIC, step_size=0.2, friction=0.12, refresh=4, burn_in=30.0, ramp=10.0,
        duration=480.0,
    ),
    "exact": ExactSettings(**_SHARED, method="exact", warm_up=100, thinning=2, leapfrog_steps=8),
}  # fmt: skip


def measure(width: int, counted: int, signals: Sequence[float]) -> xr.Dataset:
    """Effective samples of |m| at the width ``counted`` by each sampler, with steps at ``width``.

    signals: lambda. effective_samples_per_step: by a step of all chains. sampler_step_seconds: of such a
    step, on PyTorch's number of threads. sampler_mean and its error: of |m|. sampler_bias: the mean minus
    that of the exact sampler, in standard errors.
    """
    step_seconds = {
        name: _step_seconds(_run(settings.model_copy(update={"width": width}), signals[0]))
        for name, settings in SAMPLERS.items()
    }

    def of_sampler(sampler: str, signal: float) -> dict[str, float]:
        settings = SAMPLERS[sampler].model_copy(update={"width": counted})
        orders = []
        for seed in SEEDS:
            run = _run(settings, signal, seed)
            (samples,) = sample(run, [run.tasks[0]])
            orders.append(np.abs(samples["kernel"].to_numpy()[:, :, 0, 0, -1, -2]))
        order = estimate(np.concatenate(orders))
        steps = settings.draw_every * settings.draws * len(SEEDS)
        log.info(
            "lambda = %g, %s: |m| = %.4f(%.4f), %.0f effective samples, R-hat %.3f",
            signal, sampler, order.mean, order.standard_error, order.effective_size, order.rhat,
        )  # fmt: skip
        per_step = float(order.effective_size) / steps
        return {
            "effective_samples_per_second": per_step / step_seconds[sampler],
            "effective_samples_per_step": per_step,
            "sampler_step_seconds": step_seconds[sampler],
            "sampler_mean": float(order.mean),
            "sampler_standard_error": float(order.standard_error),
        }

    measured = table(of_sampler, sampler=list(SAMPLERS), signal=list(signals))
    measured = measured.assign_coords(sampler_width=width, counted_width=counted)
    mean, error = measured["sampler_mean"], measured["sampler_standard_error"]
    spread = np.hypot(error, error.sel(sampler="exact"))
    measured["sampler_bias"] = (mean - mean.sel(sampler="exact")) / spread
    rates = measured["effective_samples_per_second"]
    for title, values in {
        "effective samples per second, times Euler's": rates / rates.isel(sampler=0),
        "bias of |m| in standard errors": measured["sampler_bias"],
    }.items():
        log.info("%s:\n%s", title, values.to_series().unstack().to_string(float_format="%.2f"))
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


def _run(sampler: SamplerSettings, signal: float, seed: int = 1) -> Run:
    return Run(
        id="bench/efficiency",
        seed=seed,
        device="auto",
        architecture=Architecture(kind="rnn", steps=STEPS),
        kappa=KAPPA,
        task=EndpointTask(labels=(signal**0.5,)),
        sampler=sampler,
    )
