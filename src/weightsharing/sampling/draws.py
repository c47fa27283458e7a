"""What is kept of the draws of a batch of chains, and the dataset of a run.

Kernels, outputs and loss of each draw are kept, eigenvalues of the recurrent matrices of some, and the
weights of those asked for. Means, error bars and diagnostics are computed later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from weightsharing.model.axes import DRAW_AXES, KERNEL_AXES, SPECTRUM_AXES, output_axes
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Sampler, State
from weightsharing.sampling.random import Streams

# Of the weights of one network.
WEIGHT_AXES = {
    "recurrent": ("matrix", "unit", "unit_"),
    "input_weights": ("unit", "feature"),
    "readout": ("unit",),
}


class Draws(NamedTuple):
    """The draws of a batch of chains, on its device; a chain fills them up in place.

    kernel, activation_kernel: (chain, draw, pattern, pattern_, time, time_); the second is empty for
    linear networks, where it equals the first. output: (chain, draw, output_time, pattern), and an axis
    of readouts if there are several. loss:
    1/2 sum_S (y - f)^2, (chain, draw). identities: those of the sampler, (chain, draw, identity).
    eigenvalues: real and imaginary part, (chain, spectrum, matrix, unit, 2). recurrent, input_weights,
    readout: W, U and v of the draws whose weights are kept, (chain, kept, matrix, unit, unit),
    (chain, kept, unit, feature) and (chain, kept, unit).
    """

    kernel: Tensor
    activation_kernel: Tensor
    output: Tensor
    loss: Tensor
    identities: Tensor
    eigenvalues: Tensor
    recurrent: Tensor
    input_weights: Tensor
    readout: Tensor


def no_draws(
    chains: int, settings: SamplerSettings, posterior: Posterior, identities: int
) -> Draws:
    """Memory for all draws, in the precision and on the device of the posterior.

    identities: how many the sampler has.
    """
    architecture = posterior.architecture
    steps, patterns, features = posterior.inputs.shape
    draws, width = (chains, settings.draws), settings.width
    kept, matrices = (chains, settings.keep_weights), architecture.weight_matrices
    kernel = (*draws, patterns, patterns, steps, steps)
    linear = architecture.activation == "linear"
    zeros = posterior.inputs.new_zeros
    return Draws(
        kernel=zeros(kernel),
        activation_kernel=zeros((0,) if linear else kernel),
        output=zeros(*draws, steps, patterns, *posterior.targets.shape[3:]),
        loss=zeros(draws),
        identities=zeros(*draws, identities),
        eigenvalues=zeros(chains, settings.spectra, matrices, width, 2),
        recurrent=zeros(*kept, matrices, width, width),
        input_weights=zeros(*kept, width, features),
        readout=zeros(*kept, width),
    )


def record(
    draws: Draws, number: int, sampler: Sampler[State], state: State, streams: Streams
) -> None:
    """Keep the present state as draw ``number``, and its spectrum and its weights if they are due."""
    total, weights = draws.loss.shape[1], None
    if (place := _place(number, total, draws.readout.shape[1])) is not None:
        weights = sampler.weights(state, streams)
        for kept, block in zip(
            (draws.recurrent, draws.input_weights, draws.readout), weights, strict=True
        ):
            kept[:, place] = block
    seen = sampler.observe(state, streams, weights)
    draws.kernel[:, number] = seen.kernel
    if draws.activation_kernel.numel():
        draws.activation_kernel[:, number] = seen.activation_kernel
    draws.output[:, number] = seen.output
    draws.loss[:, number] = seen.loss
    draws.identities[:, number] = seen.identities
    if (place := _place(number, total, draws.eigenvalues.shape[1])) is not None:
        weights = sampler.weights(state, streams) if weights is None else weights
        draws.eigenvalues[:, place] = torch.view_as_real(torch.linalg.eigvals(weights.recurrent))


def _place(number: int, total: int, kept: int) -> int | None:
    """Where draw ``number`` of ``total`` stands among ``kept`` evenly spaced ones; None if it is not."""
    every = total // kept if kept else 0
    return (number + 1) // every - 1 if every and (number + 1) % every == 0 else None


def kept_draws(total: int, kept: int) -> NDArray[np.int64]:
    """The numbers of ``kept`` evenly spaced draws of ``total``."""
    return np.arange(1, kept + 1) * (total // kept) - 1


def samples_dataset(
    draws: Draws, chains: slice, settings: SamplerSettings, identities: Sequence[str]
) -> xr.Dataset:
    """The draws of some chains of a batch as a dataset of named axes, on the CPU.

    identities: names of those of the sampler. Weights that are kept are recurrent (chain, kept, matrix,
    unit, unit_), input_weights (chain, kept, unit, feature) and readout (chain, kept, unit); kept_draw
    says of which draws.
    """
    values = {name: each[chains].cpu().numpy() for name, each in draws._asdict().items()}
    steps, output = values["kernel"].shape[-1], values["output"].swapaxes(2, 3)
    dataset = xr.Dataset(
        {
            "kernel": ((*DRAW_AXES, *KERNEL_AXES), values["kernel"]),
            "output": ((*DRAW_AXES, *output_axes(output[0, 0])), output),
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
        dataset["spectrum_draw"] = ("spectrum", kept_draws(settings.draws, settings.spectra))
        dataset["eigenvalue"] = (SPECTRUM_AXES, values["eigenvalues"])
    if settings.keep_weights:
        dataset["kept_draw"] = ("kept", kept_draws(settings.draws, settings.keep_weights))
        for name, axes in WEIGHT_AXES.items():
            dataset[name] = (("chain", "kept", *axes), values[name])
    return dataset
