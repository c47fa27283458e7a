"""One step of SGLD, by this package and by others, on the same network and task (figure 3's).

All make the same step: full gradient, prior variances as learning rates, float32. A step of underdamped
dynamics is compared with the same step in PyTorch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from bench import roofline
from bench.clock import seconds, table
from weightsharing.model.architecture import KINDS, Architecture, Kind
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling import WeightSettings, backends
from weightsharing.sampling.backends import compiled, reference
from weightsharing.sampling.batches import single
from weightsharing.sampling.chain import build_sampler
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.protocol import Advance
from weightsharing.sampling.random import new_streams
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import LangevinSettings

log = logging.getLogger(__name__)

Step = Callable[[], object]

STEPS, PATTERNS, KAPPA, STEP_SIZE = 8, 4, 0.1, 1e-4
LABELS = (1.0, 1.0, -1.0, -1.0)
BATCH = 4
CPU = torch.device("cpu")


def measure(widths: list[int], device: torch.device) -> xr.Dataset:
    """Seconds of a step per chain by each implementation, and of the roofline."""
    ceilings = roofline.measure_ceilings(device)
    builders = implementations(device)

    def least(network: Kind, width: int) -> dict[str, float]:
        architecture = benchmark_run(network, width).architecture
        work = roofline.step_work(architecture, width, PATTERNS, chains=1)
        return {"roofline_seconds": work.least_seconds(ceilings)}

    def sgld(network: Kind, width: int, implementation: str) -> dict[str, float]:
        try:
            step = builders[implementation](network, width, device)
        except ImportError as error:
            log.info("%s: not installed (%s)", implementation, error.name)
            return {"step_seconds": math.nan}
        return {"step_seconds": seconds(step, device) / CHAINS.get(implementation, 1)}

    def underdamped(network: Kind, width: int, language: str) -> dict[str, float]:
        step = UNDERDAMPED[language](network, width, CPU)
        return {"underdamped_seconds": seconds(step, CPU) / BATCH}

    axes: dict[str, Sequence[Any]] = {"network": KINDS, "width": widths}
    measured = xr.merge(
        [
            table(
                lambda: {f"{name}_per_second": rate for name, rate in ceilings._asdict().items()}
            ),
            table(least, **axes),
            table(sgld, **axes, implementation=list(builders)),
            table(underdamped, **axes, language=list(UNDERDAMPED)),
        ]
    )
    steps, in_both = measured["step_seconds"], measured["underdamped_seconds"]
    for title, ratio in {
        "times weightsharing": steps / steps.sel(implementation="weightsharing"),
        "share of the roofline": measured["roofline_seconds"] / steps,
        "underdamped, times compiled": in_both / in_both.sel(language="compiled"),
    }.items():
        log.info("%s:\n%s", title, ratio.to_series().unstack().to_string(float_format="%.2f"))
    return measured


def benchmark_run(kind: Kind, width: int, settings: WeightSettings | None = None) -> Run:
    """Figure 3's strong signal; SGLD, if nothing else is given, at a step size that is always stable."""
    sgld = LangevinSettings(
        method="sgld", width=width, step_size=STEP_SIZE, burn_in=0.0, duration=1.0, draws=100,
        chains=2, precision="float32", start="prior",
    )  # fmt: skip
    return Run(
        id=f"bench/{kind}-{width}",
        seed=1,
        device="auto",
        architecture=Architecture(kind=kind, steps=STEPS),
        kappa=KAPPA,
        task=EndpointTask(labels=LABELS),
        sampler=settings or sgld,
    )


def package_step(
    kind: Kind, width: int, device: torch.device, chains: int = 1,
    settings: WeightSettings | None = None, advance: Callable[..., Advance] = backends.advance,
) -> Step:  # fmt: skip
    """The step of this package for a number of chains, by the backend that ``advance`` is of."""
    run = benchmark_run(kind, width, settings)
    target, sampler = build_sampler(single(run, run.tasks[0]), device)
    assert isinstance(sampler, DynamicsSampler)
    streams = new_streams(run.seed, chains, device)
    memory = sampler.init(streams).memory
    move = advance(target, sampler.dynamics, sampler.blocks, lambda number: target)

    def step() -> None:
        with torch.inference_mode():
            move(memory, streams, 0)

    return step


def fused_step(
    kind: Kind, width: int, device: torch.device, use_triton: bool, use_graphs: bool
) -> Step:
    """The step of this package on a GPU for one chain, without Triton or without graphs."""
    from weightsharing.sampling.backends import fused

    advance = partial(fused.advance, use_triton=use_triton, use_graphs=use_graphs)
    return package_step(kind, width, device, advance=advance)


def underdamped_step(
    kind: Kind, width: int, device: torch.device, advance: Callable[..., Advance]
) -> Step:
    """A step of underdamped dynamics for ``BATCH`` chains. The first of two has no noise."""
    settings = KineticSettings(
        method="kinetic", width=width, step_size=0.01, friction=4.0, refresh=2, burn_in=1.0,
        duration=1.0, draws=100, chains=BATCH, precision="float32", start="prior",
    )  # fmt: skip
    return package_step(kind, width, device, BATCH, settings, advance)


def energy(parameters: Sequence[Any], kind: Kind, labels: Any) -> Any:  # noqa: ANN401
    """E of standard normal W (matrix, N, N), U (N, D) and v (N,), as one would write it without this
    package: in PyTorch or in JAX. W is multiplied by the prior's standard deviation 1 / sqrt(N).
    """
    recurrent, input_, readout = parameters
    width = len(readout)
    scaled = recurrent / math.sqrt(width)
    h = input_.T
    for time in range(STEPS - 1):
        h = h @ scaled[0 if kind == "rnn" else time].T
    error = labels - h @ readout / width
    prior = sum((block**2).sum() for block in parameters) / 2
    return prior + 0.5 * width / KAPPA * (error**2).sum()


def autograd(kind: Kind, width: int, device: torch.device) -> Step:
    """The loop that one would write in PyTorch: an energy, ``backward``, noise, block by block."""
    parameters, labels = _standard_normal(kind, width, device), torch.tensor(LABELS, device=device)
    for block in parameters:
        block.requires_grad_()

    def step() -> None:
        energy(parameters, kind, labels).backward()
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

    labels, names = torch.tensor(LABELS, device=device), ("recurrent", "input", "readout")

    def log_posterior(parameters: dict[str, Tensor], batch: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return -energy([parameters[name] for name in names], kind, labels), torch.empty(0)

    transform = sgld.build(log_posterior, lr=STEP_SIZE)
    state = transform.init(dict(zip(names, _standard_normal(kind, width, device), strict=True)))

    def step() -> None:
        nonlocal state
        state, _ = transform.update(state, None, inplace=True)

    return step


def jax(kind: Kind, width: int, device: torch.device) -> Step:
    """JAX, compiled, with optax's noisy SGD. Raises ImportError where they are not installed."""
    import jax.numpy as jnp
    import optax
    from jax import jit, value_and_grad

    labels = jnp.array(LABELS)
    # Noise of variance eta / (1 + t)^gamma is added to the gradient.
    optimiser = optax.noisy_sgd(STEP_SIZE, eta=2.0 / STEP_SIZE, gamma=0.0, key=0)
    parameters = [jnp.asarray(np.asarray(b.cpu())) for b in _standard_normal(kind, width, device)]
    memory = optimiser.init(parameters)

    def update(parameters: Any, memory: Any) -> Any:  # noqa: ANN401
        _, gradient = value_and_grad(lambda blocks: energy(blocks, kind, labels))(parameters)
        changes, memory = optimiser.update(gradient, memory)
        return optax.apply_updates(parameters, changes), memory

    compiled_update = jit(update)

    def step() -> None:
        nonlocal parameters, memory
        parameters, memory = compiled_update(parameters, memory)
        parameters[0].block_until_ready()

    return step


def _standard_normal(kind: Kind, width: int, device: torch.device) -> list[Tensor]:
    stream = torch.Generator(device).manual_seed(1)
    matrices = 1 if kind == "rnn" else STEPS - 1
    shapes = ((matrices, width, width), (width, PATTERNS), (width,))
    return [torch.randn(shape, generator=stream, device=device) for shape in shapes]


# The builder of each step, given kind, width and device.
Builder = Callable[[Kind, int, torch.device], Step]
IMPLEMENTATIONS: dict[str, Builder] = {
    "weightsharing": package_step,
    "weightsharing, batch": partial(package_step, chains=BATCH),  # as the pipeline makes it
    "PyTorch autograd": autograd,
    "posteriors": posteriors,
    "JAX, optax": jax,
}
# Beside these on a GPU, where "weightsharing" has both Triton and graphs.
ON_GPU: dict[str, Builder] = {
    "weightsharing, no graph": partial(fused_step, use_triton=True, use_graphs=False),
    "weightsharing, no Triton": partial(fused_step, use_triton=False, use_graphs=True),
    "weightsharing, neither": partial(fused_step, use_triton=False, use_graphs=False),
}
# Chains that a step moves, if more than one.
CHAINS = {"weightsharing, batch": BATCH}
UNDERDAMPED: dict[str, Builder] = {
    "compiled": partial(underdamped_step, advance=compiled.advance),
    "PyTorch": partial(underdamped_step, advance=reference.advance),
}


def implementations(device: torch.device) -> dict[str, Builder]:
    """The steps of SGLD to measure on this device, by name."""
    return IMPLEMENTATIONS | (ON_GPU if device.type == "cuda" else {})
