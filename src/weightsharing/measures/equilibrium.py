"""Identities that draws of the posterior obey in equilibrium, whatever R-hat says (THEORY 2).

For any vector field F, <F . grad E> = <div F>. Chains that share a conserved energy, as underdamped
dynamics without friction do, agree with each other and break these identities. So does wrong noise.

- virial, F = Theta: <Theta . grad E> is the number of weights. input virial, F = U: that of U alone.
- kinetic temperature, of the velocities: <V^2 / s^2> = 1 for each weight.
- loss temperature, F = e_a df_a/dv summed over the supervised outputs: with e = y - f and Phi on them,
  N <e . (Phi e / kappa - f / v)> = <tr Phi>. It sees the few directions that learn, of the N^2. With D
  readouts the left is a sum over them, and the right has the factor D.

All are 1 in units of their expected value.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from scipy import stats

from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.sampling.run import Run
from weightsharing.sampling.settings import DynamicsSettings

IDENTITIES = ("virial", "input_virial", "kinetic_temperature", "loss_temperature")
# Probability that one identity fails for a right sampler in equilibrium.
FALSE_ALARM = 1e-5
# R-hat of an identity beyond which chains keep energies of their own. Chains that keep all have 1.4;
# those of few effective draws reach 1.1 by chance.
KEPT_ENERGIES = 1.2
Z_LIMIT = float(stats.norm.isf(FALSE_ALARM / 2.0))


def identities(run: Run, task: Task, samples: xr.Dataset) -> dict[str, Estimate]:
    """Each identity of a run in units of its expected value, by the names of measures.

    The sampler has recorded the virials and the kinetic temperature. The loss temperature needs
    supervised outputs.
    """
    found = {name: estimate(samples[name].to_numpy()) for name in IDENTITIES if name in samples}
    if task.supervised.any():
        found["loss_temperature"] = estimate(loss_temperature(run, task, samples))
    return found


def loss_temperature(run: Run, task: Task, samples: xr.Dataset) -> Array:
    """N e . (Phi e / kappa - f / v) / <tr Phi> of each draw, linearised, (chain, draw).

    Its mean is the ratio of the means.
    """
    pattern, time = np.nonzero(task.supervised)
    kernel = samples["activation_kernel" if "activation_kernel" in samples else "kernel"]
    rows, columns = (pattern[:, None], time[:, None]), (pattern, time)
    phi = kernel.to_numpy()[..., rows[0], columns[0], rows[1], columns[1]].astype(np.float64)
    # (chain, draw, supervised, readout)
    outputs = samples["output"].to_numpy()[:, :, pattern, time].astype(np.float64)
    outputs = outputs.reshape(*outputs.shape[:3], task.readouts)
    error = task.labels[pattern, time] - outputs
    force = phi @ error / run.kappa - outputs / run.architecture.prior.v
    above = run.sampler.width * (error * force).sum(axis=(-2, -1))
    below = task.readouts * np.einsum("...aa->...", phi)
    ratio = above.mean() / below.mean()
    return np.asarray(ratio + (above - ratio * below) / below.mean())


def broken(run: Run, task: Task, samples: xr.Dataset, found: Mapping[str, Estimate]) -> list[str]:
    """Names of the identities that do not hold, within errors and the known bias of the step.

    One whose chains disagree (R-hat) does not hold: each may have kept an energy of its own.

    With q the step relative to its limit of stability in the stiffest direction, SGLD widens a
    direction of curvature k by 1 / (1 - eta k / 2): weight decay by 1 / (1 - eta / 2), the directions of
    the loss by at most 1 / (1 - q). Underdamped dynamics, and SGLD with averaged noise, are exact for
    quadratic energies; terms beyond them add a bias of order q. The exact sampler has none.
    """
    settings, q = run.sampler, float(samples.attrs["stiffness"])
    weights = run.architecture.weight_matrices * settings.width**2
    # The loss has as many stiff directions as supervised outputs.
    stiff = task.readouts * task.supervised.sum() * q / (1.0 - q)
    widest = {
        "virial": stiff / weights,
        "input_virial": stiff / (settings.width * task.inputs.shape[2]),
        "kinetic_temperature": stiff / weights,
        "loss_temperature": q / (1.0 - q),
    }
    lowest = {name: -width for name, width in widest.items()}
    if isinstance(settings, DynamicsSettings) and settings.widening:
        widest |= {name: widest[name] + settings.widening for name in ("virial", "input_virial")}
        lowest = dict.fromkeys(widest, 0.0)
    names = []
    for name, value in found.items():
        noise = Z_LIMIT * float(value.standard_error)
        excess = float(value.mean) - 1.0
        holds = lowest[name] - noise <= excess <= widest[name] + noise
        if not holds or value.rhat > KEPT_ENERGIES:
            names.append(name)
    return names
