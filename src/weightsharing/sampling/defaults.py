"""Settings of a sampler for any task, where none are given: steps from the curvature, usual lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from weightsharing.errors import ConfigError
from weightsharing.given import positive, record
from weightsharing.model.architecture import Architecture
from weightsharing.model.task import Task
from weightsharing.sampling import SAMPLERS, SamplerSettings, posterior
from weightsharing.sampling.dynamics import ramped
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic.sampler import build
from weightsharing.sampling.langevin import curvature
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.settings import DynamicsSettings

# The step relative to its limit of stability, h^2 k / 4 or eta k / 2, at the largest curvature seen.
# "white": of SGLD with white noise, whose bias is of first order, and of gradient descent.
STIFFNESS = {"kinetic": 0.1, "sgld": 0.1, "white": 0.02}
# Longest step, for tasks whose loss is not stiff. Time between two refreshments of the velocities.
LONGEST_STEP, REFRESH = {"kinetic": 0.2, "sgld": 0.02, "white": 0.01}, 0.8
# The trial: small networks in which no chain takes long, short steps, and a time in which they learn.
TRIAL = KineticSettings(
    method="kinetic", width=48, step_size=0.02, refresh=20, burn_in=16.0, ramp=8.0, duration=4.0,
    draws=4, chains=2, precision="float64", start="prior",
)  # fmt: skip
USUAL: dict[str, dict[str, Any]] = {
    "exact": {"warm_up": 100, "thinning": 2, "leapfrog_steps": 8, "draws": 500},
    "kinetic": {"friction": 0.2, "burn_in": 30.0, "ramp": 10.0, "duration": 200.0, "draws": 400},
    # The readout is integrated out: the steps of a sampled one would be ten times as short.
    "sgld": {
        "readout": "integrated",
        "noise": "averaged",
        "burn_in": 20.0,
        "ramp": 5.0,
        "duration": 200.0,
        "draws": 400,
    },
}
SHARED = {"chains": 4, "start": "prior"}
# Settings that others are computed from.
ARITHMETIC = {"burn_in", "duration", "draws", "step_size"}


def default_settings(
    method: str, task: Task, architecture: Architecture, kappa: float, given: Mapping[str, Any]
) -> SamplerSettings:
    """Settings of a sampler for one task; ``given`` are those that are known, with ``width``.

    The step of SGLD and of underdamped dynamics is set by the largest curvature of the energy in a short
    trial of small networks: in units of the prior, it hardly depends on N (THEORY 2). Durations are made
    multiples of the time between draws. Raises ConfigError for an unknown method or setting.
    """
    if method not in SAMPLERS:
        raise ConfigError(f"method: got {method!r}, must be one of {', '.join(SAMPLERS)}")
    kind = SAMPLERS[method]
    if unknown := sorted(given.keys() - kind.model_fields.keys()):
        raise ConfigError(
            f"{unknown[0]}: unknown setting of method {method!r}; it has "
            f"{', '.join(key for key in kind.model_fields if key != 'method')}"
        )
    for key in ARITHMETIC & given.keys():
        positive(key, given[key])
    settings: dict[str, Any] = {"method": method, **SHARED, **USUAL[method], **given}
    if issubclass(kind, DynamicsSettings):
        if "ramp" not in given:
            # Without labels, chains would leave the phase that they start in.
            ramps = settings["start"] == "prior"
            settings["ramp"] = min(settings["ramp"], 0.5 * settings["burn_in"]) if ramps else 0.0
        settings = {"precision": "float32"} | settings
        readout = settings.get("readout", kind.model_fields["readout"].default)
        if "step_size" not in settings:
            stiffest = largest_curvature(task, architecture, kappa, readout)
            white = settings.get("noise") == "white"
            settings["step_size"] = _step("white" if white else method, stiffest)
        if method == "kinetic" and "refresh" not in settings:
            settings["refresh"] = max(1, round(REFRESH / settings["step_size"]))
        if not {"duration", "step_size"} <= given.keys():
            between = settings["draws"] * settings["step_size"]
            settings["duration"] = max(1, round(settings["duration"] / between)) * between
    return cast(SamplerSettings, record(kind, settings))


def descent_step(task: Task, architecture: Architecture, kappa: float) -> float:
    """A step eta of gradient descent from untrained weights: eta k is small even there.

    k is the curvature with the readout sampled. Untrained networks are not yet fitted, and fits of them
    are as stiff as those that have learned.
    """
    return _step("white", largest_curvature(task, architecture, kappa, "sampled"))


def _step(dynamics: str, stiffest: float) -> float:
    """The step of ``STIFFNESS`` at this curvature, rounded down to two digits."""
    step = STIFFNESS[dynamics]
    step = 2.0 * (step / stiffest) ** 0.5 if dynamics == "kinetic" else 2.0 * step / stiffest
    step = min(step, LONGEST_STEP[dynamics])
    scale = 10.0 ** (np.floor(np.log10(step)) - 1.0)
    return float(f"{np.floor(step / scale + 1e-9) * scale:.2g}")


@torch.inference_mode()
def largest_curvature(task: Task, architecture: Architecture, kappa: float, readout: str) -> float:
    """The largest curvature of the energy in networks that have learned, in units of the prior.

    readout: "integrated" or "sampled", the energy that is meant. The trial moves small networks by
    underdamped dynamics with the readout integrated out, while the labels grow to their size.
    """
    target = posterior.build([task], architecture, kappa, torch.device("cpu"), torch.float64)
    sampler = build(target, TRIAL, None)
    streams = new_streams(0, TRIAL.chains, torch.device("cpu"))
    state, largest = sampler.init(streams), 1.0
    for number in range(TRIAL.total_steps):
        state = sampler.step(state, streams, number)
        if number % sampler.check_every == 0:
            weights = sampler.weights(state, streams)
            if readout == "integrated":
                meant = ramped(sampler.posterior, number, TRIAL)
            elif number >= TRIAL.ramp_steps:
                meant = target
            else:  # the readout is that of the full labels
                continue
            largest = max(largest, float(curvature(weights, meant).max()))
    if not np.isfinite(largest):
        raise ConfigError("step_size: no step found by a trial; give one")
    return largest
