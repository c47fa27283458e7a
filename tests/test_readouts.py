"""Several readouts of the same activities: the loss is a sum, the theory stays exact (THEORY 3, 6, 8)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import KAPPA, assert_z, prior_network_kernels, second_order, succeed

import weightsharing as ws
from weightsharing.errors import ConfigError
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array, time_major
from weightsharing.model.symmetry import (
    label_direction,
    order_parameter,
    output_reflection,
    reflect_kernel,
    reflection,
)
from weightsharing.model.task import Task
from weightsharing.sampling.exact import marginal
from weightsharing.sampling.posterior import build
from weightsharing.theory import action, finite_width
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.symmetric import pack, unpack

STEPS = 3


def vector_task() -> Task:
    """One pattern at t = 0, two readouts with different targets at output times 1 and 3."""
    inputs = np.zeros((1, STEPS, 1))
    inputs[0, 0] = 1.0
    targets = np.full((1, STEPS, 2), np.nan)
    targets[0, 0], targets[0, 2] = (1.0, -0.5), (0.3, 1.4)
    return Task(inputs, targets)


def copies(task: Task, count: int) -> Task:
    """The same targets, divided by the root of ``count``, for as many readouts: y y^T is the same."""
    targets = np.repeat(task.targets[..., None], count, axis=2) / np.sqrt(count)
    return Task(task.inputs, targets, task.supervised)


def test_copies_of_one_readout_have_the_same_theory_but_another_term_of_order_one_over_n() -> None:
    """S depends on the sum of y_d y_d^T, its correction also on D."""
    single = ws.sinusoid(5, supervised=[1, 2, 4])
    network = ws.rnn(5, w=0.5)
    one, three = (ws.solve(task, network, kappa=0.1) for task in (single, copies(single, 3)))
    np.testing.assert_allclose(three.kernel[0], one.kernel[0], rtol=1e-7, atol=1e-9)
    assert three.prediction.dims == ("point", "pattern", "output_time", "readout")
    for readout in range(3):
        np.testing.assert_allclose(
            three.prediction[0, ..., readout] * np.sqrt(3), one.prediction[0], atol=1e-6
        )
    assert not np.allclose(three.kernel_correction, one.kernel_correction, rtol=1e-2)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_derivatives_of_the_action_match_finite_differences(
    kind: str, generator: np.random.Generator
) -> None:
    network = Architecture(kind=kind, steps=STEPS)  # type: ignore[arg-type]
    problem = linear_problem(vector_task(), network, KAPPA)
    size = problem.dimension
    root = generator.standard_normal((size, size))
    kernel = np.eye(size) + 0.2 * root @ root.T
    step = 0.1 * unpack(generator.standard_normal(size * (size + 1) // 2))
    second_order(
        lambda s: action.action(problem, kernel + s * step),
        float((action.gradient(problem, kernel) * step).sum()),
        step=0.03,
    )
    second_order(
        lambda s: pack(action.gradient(problem, kernel + s * step)),
        action.hessian(problem, kernel) @ pack(step),
        step=0.03,
    )
    second_order(
        lambda s: finite_width.subleading_action(problem, kernel + s * step),
        float((finite_width.subleading_gradient(problem, kernel) * step).sum()),
        step=0.03,
    )

    def log_determinant(s: float) -> float:
        return float(np.linalg.slogdet(action.hessian(problem, kernel + s * step))[1])

    inverse = np.linalg.inv(action.hessian(problem, kernel))
    second_order(
        log_determinant,
        float((finite_width.fluctuation_gradient(problem, kernel, inverse) * step).sum()),
        step=0.03,
    )


def reweighted(task: Task, values: Array, kernels: Array, width: int) -> tuple[Array, Array, float]:
    """Posterior mean of values of prior networks, its standard error, and the effective sample size.

    p(y | H) is a product over readouts of N(y_d; 0, (kappa + H_SS) / N).
    """
    chosen = np.flatnonzero(task.supervised[0])
    labels = task.targets[0, chosen]
    noisy = KAPPA * np.eye(chosen.size) + kernels[:, chosen][:, :, chosen]
    answer = np.linalg.solve(noisy, np.broadcast_to(labels, (len(kernels), *labels.shape)))
    log_weight = -0.5 * width * (labels * answer).sum(axis=(1, 2))
    log_weight -= 0.5 * labels.shape[1] * np.linalg.slogdet(noisy)[1]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = np.tensordot(weight, values, axes=1)
    error = np.sqrt(np.tensordot(weight**2, (values - mean) ** 2, axes=1))
    return mean, error, float(1.0 / (weight**2).sum())


def test_exact_sampler_and_theory_agree_with_reweighted_networks() -> None:
    """Networks of finite width from the prior, reweighted: no formula of theory or sampler enters.

    The theory with its 1/N term is compared at this N within the next term, of relative order 1/N^2.
    """
    task, width = vector_task(), 12
    kernels = prior_network_kernels(task, "rnn", width, 60_000, seed=3)
    expected, error, size = reweighted(task, kernels, kernels, width)
    assert size > 1000
    draws = ws.sample(
        task, ws.rnn(STEPS), kappa=KAPPA, width=width, method="exact", draws=1500, chains=4, seed=5
    )
    assert draws.output.dims == ("chain", "draw", "pattern", "output_time", "readout")
    theory = ws.solve(task, ws.rnn(STEPS), kappa=KAPPA)
    report = ws.compare(theory, draws)
    assert report.attrs["converged"] == 1
    both = np.hypot(error, report.kernel_standard_error.to_numpy()[0, 0])
    assert_z(report.kernel.to_numpy()[0, 0], expected, both, freedom=100)
    # Outputs given the kernel, and drawn ones: their mean is the same.
    residual = (
        report.readout_residual.to_numpy() / report.readout_residual_standard_error.to_numpy()
    )
    assert np.abs(residual).max() < 5.0
    assert report.output.shape == (1, STEPS, 2)


def test_theory_has_the_right_term_of_order_one_over_n() -> None:
    """Against reweighted networks the error falls faster than 1/N with it, and as 1/N without."""
    task = vector_task()
    theory = ws.solve(task, ws.rnn(STEPS), kappa=1.0)
    limit = theory.kernel[0, 0, 0].to_numpy()
    correction = theory.kernel_correction[0, 0].to_numpy()
    draws = ws.sample(task, ws.rnn(STEPS), kappa=1.0, width=32, method="exact", draws=1500, chains=4,
                      seed=1)  # fmt: skip
    report = ws.compare(theory, draws)
    measured = report.kernel.to_numpy()[0, 0]
    error = report.kernel_standard_error.to_numpy()[0, 0]
    with_term, without = (measured - limit - correction / 32) / error, (measured - limit) / error
    assert np.abs(with_term).max() < 5.0
    assert np.abs(without).max() > 8.0


def test_energy_and_gradient_of_the_marginal(generator: np.random.Generator) -> None:
    """The gradient is that of autograd, for a nonlinear network with two readouts."""
    task = vector_task()
    network = Architecture(kind="rnn", steps=STEPS, activation="erf")
    posterior = build([task], network, KAPPA, torch.device("cpu"), torch.float64)
    target = marginal.build(posterior, 8)
    g = torch.as_tensor(generator.standard_normal((2, 8, target.dimension)), dtype=torch.float64)
    g.requires_grad_()
    (expected,) = torch.autograd.grad(marginal.energy(target, g).sum(), g)
    torch.testing.assert_close(
        marginal.gradient(target, g.detach()), expected, rtol=1e-9, atol=1e-9
    )


def test_nonlinear_theory_of_copies() -> None:
    """One readout and two copies of it have the same stationary point."""
    single = ws.sinusoid(3, supervised=[1, 3])
    network = ws.rnn(3, activation="erf")
    one, two = (ws.solve(task, network, kappa=0.5) for task in (single, copies(single, 2)))
    error = two.kernel_error[0] + one.kernel_error[0] + 1e-6
    assert (np.abs(two.kernel[0] - one.kernel[0]) < 6 * error).all()


def test_symmetry_gives_each_readout_a_sign() -> None:
    """Labels of unlike parity are no obstacle if they belong to different readouts."""
    inputs = np.zeros((2, 4, 2))
    inputs[:, 0] = np.eye(2)
    targets = np.full((2, 4, 2), np.nan)
    targets[0, 2], targets[1, 3] = (1.0, 0.0), (0.0, 1.0)
    task = Task(inputs, targets)
    network = Architecture(kind="rnn", steps=4)
    signs = output_reflection(task, network)
    assert reflection(task, network) is not None
    assert signs is not None
    assert signs.shape == targets.shape
    assert signs[0, 2, 0] == signs[1, 3, 1] == 1.0
    np.testing.assert_allclose(label_direction(task), [[0.0, 0.0], [0.0, 1.0]])
    # A pattern with labels of unlike parity for one readout has no symmetry.
    targets[0, 3] = (1.0, 0.0)
    assert reflection(Task(inputs, targets), network) is None


def test_patterns_of_opposite_signs_have_a_symmetry() -> None:
    """The third readout makes two patterns opposite; m is a sum over pairs of each with itself."""
    inputs = np.zeros((2, 4, 2))
    inputs[:, 0] = np.eye(2)
    targets = np.zeros((2, 4, 3))
    targets[0, 3, 0] = targets[1, 3, 1] = targets[0, 2, 2] = targets[1, 1, 2] = 1.0
    task, network = Task(inputs, targets), Architecture(kind="rnn", steps=4)
    signs = reflection(task, network)
    assert signs is not None
    assert (signs[0] == -signs[1]).all()
    kernel = np.random.default_rng(2).normal(size=(1, 2, 2, 4, 4))
    direction = label_direction(task)
    turned = reflect_kernel(kernel, np.array([-1.0]), signs)
    np.testing.assert_allclose(
        order_parameter(turned, direction), -order_parameter(kernel, direction)
    )
    # A fourth readout with labels of both at the last time makes them equal: a contradiction.
    mixed = np.concatenate([targets, np.zeros((2, 4, 1))], axis=2)
    mixed[:, 3, 3] = 1.0
    assert reflection(Task(inputs, mixed), network) is None


def test_order_parameter_does_not_depend_on_the_basis_of_the_readouts() -> None:
    """Labels Y -> Y Q with orthogonal Q leave m as it is; one-hot labels have equal singular values."""
    rng = np.random.default_rng(5)
    kernel = rng.normal(size=(3, 3, STEPS, STEPS))
    inputs, targets = np.zeros((3, STEPS, 3)), np.full((3, STEPS, 3), np.nan)
    inputs[:, 0], targets[:, -1] = np.eye(3), np.eye(3)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one_hot = order_parameter(kernel, label_direction(Task(inputs, targets)))
    turned = order_parameter(kernel, label_direction(Task(inputs, targets @ turn)))
    np.testing.assert_allclose(turned, one_hot)
    np.testing.assert_allclose(one_hot, np.trace(kernel[..., -1, -2]) / 3)


def test_targets_missing_for_some_readouts_only_are_refused() -> None:
    targets = np.full((1, STEPS, 2), np.nan)
    targets[0, -1, 0] = 1.0
    with pytest.raises(ValueError, match="NaN for some readouts only"):
        Task(np.zeros((1, STEPS, 1)), targets)


def test_langevin_dynamics_refuses_several_readouts() -> None:
    for method in ("kinetic", "sgld"):
        with pytest.raises(ConfigError, match=r"2 readouts, which only .* \(method: exact\) have"):
            ws.sample(vector_task(), ws.rnn(STEPS), kappa=KAPPA, width=16, method=method)
    with pytest.raises(ConfigError, match="want 0 with 2 readouts"):
        ws.sample(vector_task(), ws.rnn(STEPS), kappa=KAPPA, width=16, method="exact", spectra=2)


def test_a_file_of_ones_own_with_several_readouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the file to measures through the command line; the axis of readouts stays last."""
    task = vector_task()
    xr.Dataset({
        "inputs": (("pattern", "time", "feature"), task.inputs),
        "targets": (("readout", "pattern", "output_time"), np.moveaxis(task.targets, -1, 0)),
    }).to_netcdf(tmp_path / "mine.nc", engine="h5netcdf")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run = {
        "id": "mine/run", "seed": 1, "device": "cpu", "kappa": 0.5,
        "architecture": {"kind": "rnn", "steps": STEPS},
        "kind": "run", "task": {"kind": "file", "path": "mine.nc", "patterns": 1},
        "sampler": {"method": "exact", "width": 16, "warm_up": 40, "thinning": 1, "leapfrog_steps": 8,
                    "draws": 100, "chains": 2, "start": "prior"},
    }  # fmt: skip
    succeed("resolve", json.dumps(run), "run.yaml", "--task", "task.nc")
    succeed("theory", "run.yaml", "task.nc", "theory.nc")
    succeed("sample", "run.yaml", "task.nc", "samples.nc")
    succeed("measure", "run.yaml", "task.nc", "samples.nc", "measures.nc", "--theory", "theory.nc")
    with xr.open_dataset("measures.nc") as measures:
        assert measures.output_theory.dims == ("pattern", "output_time", "readout")
        assert measures.target.shape == (1, STEPS, 2)
        np.testing.assert_array_equal(measures.target, task.targets)
    np.testing.assert_array_equal(time_major(task.labels)[:, 1], [-0.5, 0.0, 1.4])
