"""Networks: the forward pass against plain loops, weight sharing, kernels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from weightsharing.model import network as networks
from weightsharing.model.activations import (
    ACTIVATIONS,
    ActivationName,
)
from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.network import Weights

KINDS: tuple[Kind, ...] = ("rnn", "dnn")
# Written out once more, with the standard library.
FORMULAS: dict[ActivationName, Callable[[float], float]] = {
    "linear": lambda x: x,
    "erf": lambda x: math.erf(math.sqrt(math.pi) / 2 * x),
    "tanh": math.tanh,
    "relu": lambda x: max(x, 0.0),
}
CHAINS, STEPS, PATTERNS, FEATURES, WIDTH = 2, 4, 3, 2, 5


def random_weights(architecture: Architecture, seed: int = 0) -> Weights:
    stream = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=stream, dtype=torch.float64)

    return Weights(
        normal(CHAINS, architecture.weight_matrices, WIDTH, WIDTH),
        normal(CHAINS, WIDTH, FEATURES),
        normal(CHAINS, WIDTH),
    )


def random_inputs(seed: int = 1) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(STEPS, PATTERNS, FEATURES, generator=stream, dtype=torch.float64)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_forward_pass_kernel_and_output_match_plain_loops(
    kind: Kind, activation: ActivationName
) -> None:
    architecture = Architecture(kind=kind, steps=STEPS, activation=activation)
    weights, inputs = random_weights(architecture), random_inputs()
    activities = networks.forward(weights, inputs, architecture)
    outputs = networks.outputs(weights, activities)
    kernel = networks.kernel(activities.pre)
    phi = np.vectorize(FORMULAS[activation])
    for chain in range(CHAINS):
        matrices, into, readout = (block[chain].numpy() for block in weights)
        pre = np.zeros((STEPS, PATTERNS, WIDTH))
        for pattern in range(PATTERNS):
            for time in range(STEPS):
                pre[time, pattern] = into @ inputs[time, pattern].numpy()
                if time:
                    matrix = matrices[0] if kind == "rnn" else matrices[time - 1]
                    pre[time, pattern] += matrix @ phi(pre[time - 1, pattern])
        np.testing.assert_allclose(activities.pre[chain], pre, atol=1e-12)
        np.testing.assert_allclose(activities.post[chain], phi(pre), atol=1e-12)
        np.testing.assert_allclose(outputs[chain], phi(pre) @ readout / WIDTH, atol=1e-12)
        expected = np.einsum("tpi,sqi->pqts", pre, pre) / WIDTH
        np.testing.assert_allclose(kernel[chain], expected, atol=1e-12)


def test_dnn_with_equal_matrices_is_the_rnn() -> None:
    rnn, dnn = (Architecture(kind=kind, steps=STEPS) for kind in KINDS)
    weights = random_weights(rnn)
    unrolled = weights._replace(recurrent=weights.recurrent.expand(-1, STEPS - 1, -1, -1))
    shared = networks.forward(weights, random_inputs(), rnn).pre
    torch.testing.assert_close(networks.forward(unrolled, random_inputs(), dnn).pre, shared)


@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_an_activation_is_one_function_in_every_library(name: ActivationName) -> None:
    activation = ACTIVATIONS[name]
    # No number is 0, where relu has no slope.
    x = torch.linspace(-3, 3, 100, dtype=torch.float64, requires_grad=True)
    numbers = x.detach().numpy()
    phi = np.vectorize(FORMULAS[name])(numbers)
    slope = torch.autograd.grad(activation.phi(x).sum(), x)[0].numpy()
    for values in (activation.phi(x.detach()), activation.phi(numbers)):
        np.testing.assert_allclose(values, phi, rtol=1e-14)
    for values in (activation.slope(x.detach()), activation.slope(numbers)):
        np.testing.assert_allclose(values, slope, rtol=1e-12)
    assert activation.odd == np.allclose(activation.phi(-numbers), -phi)
    assert activation.slope(np.zeros(1)) == (0.0 if name == "relu" else 1.0)
