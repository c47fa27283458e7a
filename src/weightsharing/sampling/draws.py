"""What is kept of the draws of a batch of chains, and the dataset of a run.

Kernels, outputs and loss of each draw are kept, eigenvalues of the recurrent matrices of some. Weights
are not. Means, error bars and diagnostics are computed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from weightsharing.model.axes import DRAW_AXES, KERNEL_AXES, SPECTRUM_AXES
from weightsharing.model.network import Weights
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Sampler, State
from weightsharing.sampling.random import Streams


class Draws(NamedTuple):
    """The draws of a batch of chains, on its device; a chain fills them up in place.

    kernel, activation_kernel: (chain, draw, pattern, pattern_, time, time_); the second is empty for
    linear networks, where it equals the first. output: (chain, draw, output_time, pattern). loss:
    1/2 sum_S (y - f)^2, (chain, draw). identities: those of the sampler, (chain, draw, identity).
    eigenvalues: real and imaginary part, (chain, spectrum, matrix, unit, 2).
    """

    kernel: Tensor
    activation_kernel: Tensor
    output: Tensor
    loss: Tensor
    identities: Tensor
    eigenvalues: Tensor


def no_draws(
    chains: int, settings: SamplerSettings, posterior: Posterior, identities: int
) -> Draws:
    """Memory for all draws, in the precision and on the device of the posterior.

    identities: how many the sampler has.
    """
    architecture = posterior.architecture
    steps, patterns, _ = posterior.inputs.shape
    draws = (chains, settings.draws)
    kernel = (*draws, patterns, patterns, steps, steps)
    linear = architecture.activation == "linear"
    zeros = posterior.inputs.new_zeros
    return Draws(
        kernel=zeros(kernel),
        activation_kernel=zeros((0,) if linear else kernel),
        output=zeros(*draws, steps, patterns),
        loss=zeros(draws),
        identities=zeros(*draws, identities),
        eigenvalues=zeros(
            chains, settings.spectra, architecture.weight_matrices, settings.width, 2
        ),
    )


def record(
    draws: Draws, number: int, sampler: Sampler[State], state: State, streams: Streams
) -> None:
    """Keep the present state as draw ``number``, and its eigenvalues if a spectrum is due."""
    seen = sampler.observe(state, streams)
    draws.kernel[:, number] = seen.kernel
    if draws.activation_kernel.numel():
        draws.activation_kernel[:, number] = seen.activation_kernel
    draws.output[:, number] = seen.output
    draws.loss[:, number] = seen.loss
    draws.identities[:, number] = seen.identities
    spectra = draws.eigenvalues.shape[1]
    every = draws.loss.shape[1] // spectra if spectra else 0
    if every and (number + 1) % every == 0:
        values = torch.linalg.eigvals(sampler.weights(state, streams).recurrent)
        draws.eigenvalues[:, (number + 1) // every - 1] = torch.view_as_real(values)


def samples_dataset(
    draws: Draws, chains: slice, settings: SamplerSettings, identities: Sequence[str],
    weights: Weights | None,
) -> xr.Dataset:  # fmt: skip
    """The draws of some chains of a batch as a dataset of named axes, on the CPU.

    identities: names of those of the sampler. weights: those of all chains at the end, of which the first
    chain's are kept; None if not asked for.
    """
    values = {name: each[chains].cpu().numpy() for name, each in draws._asdict().items()}
    steps = values["kernel"].shape[-1]
    dataset = xr.Dataset(
        {
            "kernel": ((*DRAW_AXES, *KERNEL_AXES), values["kernel"]),
            "output": ((*DRAW_AXES, "pattern", "output_time"), values["output"].swapaxes(2, 3)),
            "loss": (DRAW_AXES, values["loss"]),
            **{
                name: (DRAW_AXES, values["identities"][..., index])
                for index, name in enumerate(identities)
            },
        },
        coords={
            "time": np.arange(steps),
            "time_": np.arange(steps),
            "output_time": np.arange(1, steps + 1),
        },
    )
    if values["activation_kernel"].size:
        dataset["activation_kernel"] = ((*DRAW_AXES, *KERNEL_AXES), values["activation_kernel"])
    if settings.spectra:
        every = settings.draws // settings.spectra
        dataset["spectrum_draw"] = ("spectrum", np.arange(1, settings.spectra + 1) * every - 1)
        dataset["eigenvalue"] = (SPECTRUM_AXES, values["eigenvalues"])
    if weights is not None:
        recurrent, input_, readout = (block[chains][0].cpu().numpy() for block in weights)
        dataset["recurrent"] = (("matrix", "unit", "unit_"), recurrent)
        dataset["input_weights"] = (("unit", "feature"), input_)
        dataset["readout"] = ("unit", readout)
    return dataset
