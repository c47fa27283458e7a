"""One step of SGLD, by this package and by others, on the network and task of figure 3.

All make the same step: full gradient, prior variances as learning rates, float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling import posterior
from weightsharing.sampling.backends import compiled, gpu
from weightsharing.sampling.batches import single
from weightsharing.sampling.chain import build_sampler
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import LangevinSettings

Step = Callable[[], object]
Build = Callable[[Kind, int, torch.device], Step]

STEPS, PATTERNS, KAPPA, STEP_SIZE = 8, 4, 0.1, 1e-4
LABELS = (1.0, 1.0, -1.0, -1.0)
BATCH = 4


def benchmark_run(kind: Kind, width: int, chains: int = 2) -> Run:
    """Figure 3's strong signal, at a step size for which every step is stable."""
    sampler = LangevinSettings(
        method="sgld", width=width, step_size=STEP_SIZE, burn_in=0.0, duration=1.0, draws=100,
        chains=chains, precision="float32", start="prior",
    )  # fmt: skip
    return Run(
        id=f"bench/{kind}-{width}", seed=1, device="auto", kappa=KAPPA, sampler=sampler,
        architecture=Architecture(kind=kind, steps=STEPS), task=EndpointTask(labels=LABELS),
    )  # fmt: skip


def package_step(kind: Kind, width: int, device: torch.device, chains: int = 1) -> Step:
    """The step of this package, for a batch of chains."""
    run = benchmark_run(kind, width)
    task = run.tasks[0]
    _, sampler = build_sampler(single(run, task), device)
    streams = new_streams(run.seed, chains, device)
    state = sampler.init(streams)

    def step() -> None:
        with torch.inference_mode():
            sampler.step(state, streams, 0)

    return step


def autograd(kind: Kind, width: int, device: torch.device) -> Step:
    """A plain loop in PyTorch: an energy, ``backward``, noise, block by block."""
    parameters = _standard_normal(kind, width, device)
    scales = _scales(width)
    energy = network_energy(kind, width, torch.tensor(LABELS, device=device))
    for block in parameters:
        block.requires_grad_()

    def step() -> None:
        loss = energy([block * scale for block, scale in zip(parameters, scales, strict=True)])
        loss.backward()
        with torch.no_grad():
            for block in parameters:
                assert block.grad is not None
                block -= STEP_SIZE * block.grad
                block += math.sqrt(2.0 * STEP_SIZE) * torch.randn_like(block)
                block.grad = None

    return step


def posteriors(kind: Kind, width: int, device: torch.device) -> Step:
    """SGLD of the package posteriors. Raises ImportError where it is not installed."""
    from posteriors.sgmcmc import sgld

    scales = _scales(width)
    energy = network_energy(kind, width, torch.tensor(LABELS, device=device))
    names = ("recurrent", "input", "readout")

    def log_posterior(parameters: dict[str, Tensor], batch: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        scaled = [parameters[name] * scale for name, scale in zip(names, scales, strict=True)]
        return -energy(scaled), torch.empty(0)

    transform = sgld.build(log_posterior, lr=STEP_SIZE)
    first = dict(zip(names, _standard_normal(kind, width, device), strict=True))
    state = [transform.init(first)]

    def step() -> None:
        state[0], _ = transform.update(state[0], None, inplace=True)

    return step


def jax(kind: Kind, width: int, device: torch.device) -> Step:
    """JAX, compiled, with optax's noisy SGD. Raises ImportError where they are not installed."""
    import jax.numpy as jnp
    import optax
    from jax import jit, value_and_grad

    scales = _scales(width)
    energy = network_energy(kind, width, jnp.array(LABELS))

    def whitened_energy(parameters: list[Any]) -> Any:  # noqa: ANN401
        return energy([block * scale for block, scale in zip(parameters, scales, strict=True)])

    # optax adds noise of variance eta / (1 + t)^gamma to the gradient.
    optimiser = optax.noisy_sgd(STEP_SIZE, eta=2.0 / STEP_SIZE, gamma=0.0, key=0)
    blocks = _standard_normal(kind, width, device)
    parameters = [jnp.asarray(block.cpu().numpy()) for block in blocks]
    state = [parameters, optimiser.init(parameters)]

    def update(parameters: Any, memory: Any) -> Any:  # noqa: ANN401
        _, gradient = value_and_grad(whitened_energy)(parameters)
        changes, memory = optimiser.update(gradient, memory)
        return optax.apply_updates(parameters, changes), memory

    jitted = jit(update)

    def step() -> None:
        state[0], state[1] = jitted(*state)
        state[0][0].block_until_ready()

    return step


def on_gpu(kind: Kind, width: int, device: torch.device, use_fused: bool, use_graphs: bool) -> Step:
    """The step of this package on a GPU for one chain; fused steps and graphs are optional."""
    run = benchmark_run(kind, width)
    assert isinstance(run.sampler, LangevinSettings)
    target = posterior.build([run.tasks[0]], run.architecture, run.kappa, device, torch.float32)
    sampler = DynamicsSampler(target, run.sampler, None, with_velocities=False)
    streams = new_streams(run.seed, 1, device)
    memory = sampler.init(streams).memory
    advance = gpu.advance(
        target, run.sampler, sampler.blocks, lambda step: target, use_fused, use_graphs
    )

    def step() -> None:
        with torch.inference_mode():
            advance(memory, streams, 0)

    return step


def underdamped(kind: Kind, width: int, in_pytorch: bool) -> Step:
    """An underdamped step without noise of ``BATCH`` chains on a CPU, compiled or in PyTorch."""
    settings = KineticSettings(
        method="kinetic", width=width, step_size=0.01, burn_in=0.0, duration=1.0, draws=100,
        chains=BATCH, precision="float32", start="prior",
    )  # fmt: skip
    architecture = Architecture(kind=kind, steps=STEPS)
    task, device = benchmark_run(kind, width).tasks[0], torch.device("cpu")
    target = posterior.build([task], architecture, KAPPA, device, torch.float32)
    sampler = DynamicsSampler(target, settings, None, with_velocities=True)
    memory = sampler.init(new_streams(1, BATCH, device)).memory
    weights, velocities = sampler.blocks(memory)
    assert velocities is not None
    move = compiled.stepper(target, settings)

    def step() -> None:
        if in_pytorch:
            kinetic.step(weights, velocities, None, target, settings.step_size, settings.damping)
        else:
            move(memory, None, target)

    return step


IMPLEMENTATIONS: dict[str, Build] = {
    "weightsharing": package_step,
    "weightsharing, batch": partial(package_step, chains=BATCH),
    "PyTorch autograd": autograd,
    "posteriors": posteriors,
    "JAX, optax": jax,
}
# Further rows on a GPU, where "weightsharing" has both fused steps and graphs.
ON_GPU: dict[str, Build] = {
    "weightsharing, no graph": partial(on_gpu, use_fused=True, use_graphs=False),
    "weightsharing, no kernel": partial(on_gpu, use_fused=False, use_graphs=True),
    "weightsharing, neither": partial(on_gpu, use_fused=False, use_graphs=False),
}
# Chains of one step, if more than one.
CHAINS = {"weightsharing, batch": BATCH}


def implementations(device: torch.device) -> dict[str, Build]:
    """The measured implementations on this device, by name."""
    return IMPLEMENTATIONS | (ON_GPU if device.type == "cuda" else {})


def network_energy(kind: Kind, width: int, labels: Any) -> Callable[[list[Any]], Any]:  # noqa: ANN401
    """E of W (matrix, N, N), U (N, D) and v (N,) without use of this package.

    Arrays are of PyTorch or JAX, as ``labels`` (pattern,) are.
    """

    def energy(parameters: list[Any]) -> Any:  # noqa: ANN401
        recurrent, input_, readout = parameters
        h = input_.T
        for time in range(STEPS - 1):
            h = h @ recurrent[0 if kind == "rnn" else time].T
        error = labels - h @ readout / width
        prior = 0.5 * width * (recurrent**2).sum()
        prior = prior + 0.5 * (input_**2).sum() + 0.5 * (readout**2).sum()
        return prior + 0.5 * width / KAPPA * (error**2).sum()

    return energy


def _standard_normal(kind: Kind, width: int, device: torch.device) -> list[Tensor]:
    stream = torch.Generator(device).manual_seed(1)
    matrices = 1 if kind == "rnn" else STEPS - 1
    shapes = ((matrices, width, width), (width, PATTERNS), (width,))
    return [torch.randn(shape, generator=stream, device=device) for shape in shapes]


def _scales(width: int) -> tuple[float, float, float]:
    """Standard deviations of the prior: the units of the weights."""
    return (1.0 / math.sqrt(width), 1.0, 1.0)
