"""Identities of equilibrium: right samplers obey them, and chains of one conserved energy do not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import assert_z, draw, endpoint_run, exact_run, kinetic_run, lines_of_failure
from test_langevin import both_energies
from weight_steps import CPU, problem, states, weaker_noise

from weightsharing.measures import equilibrium
from weightsharing.measures.compare import compare
from weightsharing.measures.estimate import (
    SMALLEST_EFFECTIVE_SIZE,
    estimate,
)
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Kind
from weightsharing.model.network import Weights
from weightsharing.sampling import langevin
from weightsharing.sampling.run import Run

KINETIC: dict[str, Any] = {
    "width": 64, "step_size": 0.02, "refresh": 16, "burn_in": 20.0, "duration": 160.0, "draws": 500,
    "chains": 4, "readout": "sampled",
}  # fmt: skip
INTEGRATED: dict[str, Any] = {"readout": "integrated", "ramp": 5.0, "refresh": 4}
NAMES = ("virial", "input_virial", "kinetic_temperature", "loss_temperature")


def measures(run: Run, samples: xr.Dataset | None = None) -> xr.Dataset:
    return compare(run, run.tasks[0], None, draw(run) if samples is None else samples)


def changed(run: Run, **settings: Any) -> Run:
    """The run with settings that its record would refuse."""
    return run.model_copy(update={"sampler": run.sampler.model_copy(update=settings)})


@both_energies
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
@pytest.mark.parametrize("activation", ["linear", "erf", "tanh"])
def test_virials_are_gradients_along_the_weights(
    kind: Kind, activation: ActivationName, integrated: bool
) -> None:
    """Against the derivative of E along Theta, and along U, by autograd."""
    target = problem(kind, activation, dtype=torch.float64, device=CPU, integrated=integrated)
    memory, blocks = states(target, 7, chains=3)
    weights = blocks(memory)[0]
    scales = [torch.ones(3, dtype=torch.float64, requires_grad=True) for _ in weights]
    scaled = Weights(
        *(
            block * scale.reshape(-1, *[1] * (block.ndim - 1))
            for block, scale in zip(weights, scales, strict=True)
        )
    )
    along = torch.autograd.grad(langevin.energy(scaled, target).sum(), scales)
    counts = [block[0].numel() for block in weights]
    found = langevin.virials(weights, target)
    torch.testing.assert_close(found.all, sum(along) / sum(counts))
    torch.testing.assert_close(found.input, along[1] / counts[1])


RIGHT = {
    "kinetic": kinetic_run(5.0, friction=0.5, **KINETIC),
    "kinetic, erf dnn": kinetic_run(
        5.0, kind="dnn", friction=0.5, **KINETIC | {"step_size": 0.04, "refresh": 8}
    ),
    "readout integrated out": kinetic_run(
        5.0, friction=0.25, **KINETIC | INTEGRATED | {"step_size": 0.05, "duration": 200.0}
    ),
    "sgld, averaged noise": endpoint_run(
        5.0, width=64, noise="averaged", readout="integrated", step_size=0.02, burn_in=20.0, ramp=5.0,
        duration=200.0, draws=500, chains=4,
    ),
    "exact": exact_run(5.0, width=64, draws=500, thinning=2),
}  # fmt: skip


@pytest.mark.parametrize("run", RIGHT.values(), ids=list(RIGHT))
def test_right_samplers_obey_the_identities(run: Run) -> None:
    """Without bias: the exact sampler by construction, the dynamics at small steps."""
    measured = measures(run)
    for name in NAMES if run.sampler.method != "exact" else NAMES[3:]:
        error = measured[f"{name}_standard_error"].to_numpy()
        assert_z(measured[name].to_numpy(), 1.0, error)
        assert float(error) < 0.2
    assert not set(str(measured.attrs["faults"]).split(", ")) & set(NAMES)


@pytest.mark.parametrize(("noise", "widening"), [("white", 1.0 / 0.9), ("averaged", 1.0)])
def test_sgld_has_its_known_bias(noise: str, widening: float) -> None:
    """Euler's step widens weight decay by 1 / (1 - eta / 2): the virial of networks without labels."""
    eta = 0.2
    run = endpoint_run(
        1e-9, kappa=1e6, step_size=eta, burn_in=10.0, duration=200.0, draws=1000, noise=noise
    )
    measured = measures(run)
    error = measured["virial_standard_error"].to_numpy()
    assert_z(measured["virial"].to_numpy(), widening, error)
    assert float(error) < 0.2 * eta / 2.0
    assert not {"virial", "input_virial"} & set(str(measured.attrs["faults"]).split(", "))


@pytest.mark.parametrize("settings", [{"friction": 1e-4}, {"refresh": 100_000}], ids=str)
def test_chains_of_one_conserved_energy_do_not_pass(settings: dict[str, Any]) -> None:
    """They agree with each other: without the identities at most R-hat of the loss finds a fault."""
    run = changed(RIGHT["kinetic"], duration=640.0, draws=2000, **settings)
    measured = measures(run)
    assert measured.attrs["smallest_effective_size"] > SMALLEST_EFFECTIVE_SIZE
    assert set(str(measured.attrs["faults"]).split(", ")) - {"loss"} == set(NAMES)
    assert measured.attrs["converged"] == 0
    # m is a fourth of its value.
    assert measured["order_parameter"] < 0.4 * 3.8
    assert measured["loss_temperature"] > 50.0


def test_chains_that_keep_energies_of_their_own_do_not_pass() -> None:
    """With the readout integrated out, they begin near the right energy; each keeps its own."""
    run = changed(RIGHT["readout integrated out"], friction=1e-4, duration=640.0, draws=800)
    measured = measures(run)
    assert {"virial", "kinetic_temperature"} <= set(str(measured.attrs["faults"]).split(", "))


@pytest.mark.parametrize("method", ["kinetic", "sgld"])
def test_noise_that_is_too_small_does_not_pass(method: str) -> None:
    """By 5 %: temperatures are a tenth too small."""
    run = RIGHT["kinetic"]
    if method == "sgld":
        run = endpoint_run(0.5, step_size=2e-3, burn_in=5.0, duration=40.0, draws=500)
    with weaker_noise(0.95):
        measured = measures(run)
    assert float(measured["virial"]) == pytest.approx(0.9, abs=0.05)
    named = set(str(measured.attrs["faults"]).split(", "))
    assert named >= ({"virial"} if method == "sgld" else {"virial", "kinetic_temperature"})


def test_bias_is_allowed_up_to_that_of_the_step() -> None:
    """The loss of SGLD at half of the limit of stability has up to twice its temperature."""
    run = endpoint_run(0.5)
    samples = xr.Dataset(attrs={"stiffness": 0.5})
    generator = np.random.default_rng(1)
    for mean, fails in ((1.9, False), (2.5, True), (0.7, True)):
        draws = mean + 0.1 * generator.standard_normal((4, 500))
        found = {"loss_temperature": estimate(draws)}
        assert bool(equilibrium.broken(run, run.tasks[0], samples, found)) == fails


@pytest.mark.parametrize(("settings", "says"), [
    ({"friction": 0.01}, "friction x burn_in = 0.02 in 40 refreshments, want at least 2"),
    ({"friction": 0.05, "burn_in": 50.0}, "friction x duration = 0.5 in 200 refreshments"),
    ({"refresh": 1000}, "friction x burn_in = 0 in 0 refreshments"),
])  # fmt: skip
def test_too_little_friction_is_refused(
    settings: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = changed(kinetic_run(1.0), **settings)
    (line,) = lines_of_failure(capsys, "resolve", run.model_dump_json(), "run.yaml")
    assert line.startswith("sampler.friction: got ")
    assert says in line
