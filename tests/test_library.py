"""The library for notebooks: the same functions as the verbs, sensible steps, plain refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import arviz_base
import numpy as np
import pytest
import torch
import xarray as xr
from conftest import assert_z, exact_run, lines_of_failure, succeed
from safetensors.numpy import load_file

import weightsharing as ws
from weightsharing.errors import ConfigError, DivergenceError
from weightsharing.files import read_members
from weightsharing.model.network import Weights
from weightsharing.model.tasks import ArraysTask, SignalsTask
from weightsharing.sampling import defaults, langevin, posterior
from weightsharing.sampling.run import Run
from weightsharing.sampling.sgld import LangevinSettings

KAPPA = 0.2
SHORT: dict[str, Any] = {"draws": 40, "warm_up": 20}


def driven_task() -> ws.Task:
    """Gaussian inputs of three features at all times, targets of six patterns at two times."""
    generator = np.random.default_rng(3)
    targets = np.full((6, 4), np.nan)
    targets[:, [1, 3]] = generator.normal(size=(6, 2))
    return ws.Task(generator.normal(size=(6, 4, 3)), targets)


TASKS: dict[str, Callable[[], ws.Task]] = {
    "endpoint": lambda: ws.endpoint(4, signal=5.0),
    "sinusoid": lambda: ws.sinusoid(4, period=3.0, supervised=[1, 3]),
    "driven": driven_task,
}


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_the_verbs_call_the_same_functions(task: Callable[[], ws.Task], tmp_path: Path) -> None:
    """Theory, draws and measures of the command line, from the run that the draws carry."""
    arrays, network = task(), ws.rnn(4, w=0.8)
    theory = ws.solve(arrays, network, KAPPA)
    draws = ws.sample(arrays, network, KAPPA, 32, theory=theory, spectra=2, **SHORT)
    report = ws.compare(theory, draws)
    files = {name: tmp_path / f"{name}.nc" for name in ("task", "theory", "samples", "measures")}
    run = tmp_path / "run.yaml"
    succeed("resolve", draws.attrs["run"], run, "--task", files["task"])
    succeed("theory", run, files["task"], files["theory"])
    succeed("sample", run, files["task"], files["samples"], "--theory", files["theory"])
    succeed("measure", run, files["task"], files["samples"], files["measures"], "--theory",
            files["theory"])  # fmt: skip
    for name, found in (("theory", theory), ("samples", draws), ("measures", report)):
        with xr.open_dataset(files[name]) as stored:
            for variable in set(stored.variables) & set(found.variables):
                np.testing.assert_array_equal(
                    np.asarray(found[variable], stored[variable].dtype), stored[variable]
                )
            assert set(stored.data_vars) <= set(found.data_vars)


def test_a_task_of_arrays_survives_its_record() -> None:
    task = driven_task()
    record = ArraysTask.model_validate_json(ArraysTask.of(task).model_dump_json())
    again = record.make(4)
    for name in ("inputs", "targets", "supervised"):
        np.testing.assert_array_equal(getattr(again, name), getattr(task, name))
    with pytest.raises(ConfigError, match="4 times, but the network has T = 5"):
        record.make(5)


@pytest.mark.parametrize(
    ("method", "lengths", "name", "kappa"),
    [
        ("kinetic", {"duration": 400.0}, "endpoint", 0.1),
        ("kinetic", {"duration": 200.0}, "driven", 1.0),
        ("sgld", {"duration": 40.0}, "endpoint", 0.1),
    ],
    ids=["kinetic", "kinetic, driven", "sgld"],
)
def test_steps_found_by_a_trial_give_the_law(
    method: str, lengths: dict[str, Any], name: str, kappa: float
) -> None:
    """The diagonal of H against the exact sampler at N = 32; SGLD has a bias of its step."""
    task, network = TASKS[name](), ws.dnn(4)
    exact = ws.sample(task, network, kappa, 32, draws=1000, thinning=1)
    draws = ws.sample(task, network, kappa, 32, method, **lengths)
    settings = Run.model_validate_json(draws.attrs["run"]).sampler
    assert draws.attrs["stiffness"] < 4.0 * defaults.STIFFNESS[method]
    measured, expected = (ws.compare(None, each) for each in (draws, exact))
    assert measured.attrs["converged"], measured.attrs["faults"]
    at = {"pattern": 0, "pattern_": 0}
    kernels, errors = (
        [np.diag(data[f"kernel{end}"].isel(at)) for data in (measured, expected)]
        for end in ("", "_standard_error")
    )
    bias = 0.0
    if isinstance(
        settings, LangevinSettings
    ):  # weight decay is wider by 1 / (1 - eta / 2) at each of T steps
        bias = 4 * settings.step_size / 2.0 + float(draws.attrs["stiffness"])
    assert_z(kernels[0], kernels[1], np.hypot(np.hypot(*errors), bias * kernels[1]))


def test_without_targets_theory_and_networks_are_untrained() -> None:
    task = ws.Task(ws.endpoint(4, signal=1.0).inputs, np.full((1, 4), np.nan))
    theory = ws.solve(task, ws.rnn(4, w=0.5), KAPPA)
    np.testing.assert_allclose(np.diag(theory.kernel[0, 0, 0]), 0.5 ** np.arange(4), rtol=1e-9)
    draws = ws.sample(task, ws.rnn(4, w=0.5), KAPPA, 64, theory=theory)
    report = ws.compare(theory, draws)
    expected = report.kernel_finite_width[0, 0]
    error = report.kernel_standard_error[0, 0]
    assert_z(np.diag(report.kernel[0, 0]), np.diag(expected), np.diag(error))


def test_gradient_descent_ends_where_the_gradient_of_the_energy_vanishes() -> None:
    """By autograd; the loss never grows on the way, and without weight decay it vanishes."""
    task, network, width = ws.endpoint(3, signal=2.0), ws.dnn(3), 12
    path = ws.descend(task, network, KAPPA, width, steps=40_000, networks=2)
    losses = path.loss.to_numpy()
    assert losses.shape == (2, 101)
    blocks = (path[name].to_numpy() for name in ("recurrent", "input_weights", "readout"))
    leaves = Weights(*(torch.tensor(block, requires_grad=True) for block in blocks))
    target = posterior.build([task], network, KAPPA, torch.device("cpu"), torch.float64)
    gradient = torch.autograd.grad(langevin.energy(leaves, target).sum(), list(leaves))
    scales = network.prior.variances(width)
    for part, variance, block in zip(gradient, scales, leaves, strict=True):
        assert float((variance * part).abs().max()) < 1e-3 * float(block.detach().abs().max())
    free = ws.descend(task, network, KAPPA, width, steps=4000, networks=2, weight_decay=False)
    assert (np.diff(free.loss, axis=1) <= 1e-12).all()
    assert (free.loss[:, -1] < 1e-6 * free.loss[:, 0]).all()
    with pytest.raises(DivergenceError, match="gradient descent diverged before step"):
        ws.descend(task, network, KAPPA, width, step_size=0.5, steps=1000)


@pytest.mark.parametrize("signals", [None, (3.0, 4.0)])
def test_kept_weights_are_exported_by_name(
    signals: tuple[float, ...] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tensors of samples.nc, by safetensors; of a family behind the names of its members."""
    run = exact_run(3.0, draws=4, chains=2, warm_up=10, keep_weights=2)
    if signals is not None:
        run = run.model_copy(update={"task": SignalsTask(kind="signals", signals=signals)})
    paths = {
        name: tmp_path / name for name in ("run.yaml", "task.nc", "samples.nc", "w.safetensors")
    }
    succeed("resolve", run.model_dump_json(), paths["run.yaml"], "--task", paths["task.nc"])
    succeed("sample", paths["run.yaml"], paths["task.nc"], paths["samples.nc"])
    succeed("weights", paths["run.yaml"], paths["samples.nc"], paths["w.safetensors"])
    tensors = load_file(paths["w.safetensors"])
    members = read_members(paths["samples.nc"], "samples", run)
    prefixes = ["3/", "4/"] if signals else [""]
    assert set(tensors) == {
        f"{prefix}{name}"
        for prefix in prefixes
        for name in ("recurrent", "input_weights", "readout", "kept_draw")
    }
    for prefix, data in zip(prefixes, members, strict=True):
        assert data.sizes["kept"] == 2
        np.testing.assert_array_equal(tensors[f"{prefix}recurrent"], data["recurrent"])
        np.testing.assert_array_equal(tensors[f"{prefix}readout"], data["readout"])
    without = exact_run(3.0, draws=4, chains=2, warm_up=10)
    succeed("resolve", without.model_dump_json(), paths["run.yaml"], "--task", paths["task.nc"])
    succeed("sample", paths["run.yaml"], paths["task.nc"], paths["samples.nc"])
    line = lines_of_failure(
        capsys, "weights", paths["run.yaml"], paths["samples.nc"], paths["w.safetensors"]
    )
    assert line == [f"{paths['samples.nc']}: no weights were kept: keep_weights is 0 in this run"]


def test_draws_open_in_arviz() -> None:
    draws = ws.sample(ws.endpoint(4, signal=1.0), ws.rnn(4), KAPPA, 32)
    tree = arviz_base.convert_to_datatree(draws[["loss"]])
    assert tree["posterior"]["loss"].dims == ("chain", "draw")


def test_law_and_landau_curve_are_those_of_figure_4() -> None:
    """-ln p(m) / N tends to F(m), up to a constant."""
    network = ws.rnn(4)
    signal = 1.3 * ws.critical_signal(network, 0.1)
    law = ws.order_parameter_law(signal, network, 0.1, 10**6)
    inside = law.density > 1e-8 * law.density.max()
    m = law.order_parameter[inside]
    grid = np.concatenate([[0.0], m])
    curve = ws.landau_curve(signal, network, 0.1, grid).sel(order_parameter=m)
    expected = (curve - curve.min()).to_numpy()
    found = -np.log(law.density[inside]) / 10**6
    np.testing.assert_allclose(found - found.min(), expected, atol=1e-6)


def test_pictures() -> None:
    task, network = ws.sinusoid(6, supervised=[1, 2, 6]), ws.rnn(6, w=0.5)
    theory = ws.solve(task, network, KAPPA)
    draws = ws.sample(task, network, KAPPA, 48, theory=theory, spectra=2, **SHORT)
    for picture in (ws.plot.kernels, ws.plot.outputs, ws.plot.spectrum):
        for known in (theory, None):
            figure = picture(known, draws)
            figure.canvas.draw()
            assert figure.axes
    lines = [line.get_ydata() for line in ws.plot.outputs(theory, draws).axes[0].lines]
    assert any(np.array_equal(line, theory.prediction[0, 0]) for line in lines)


NETWORK, TASK = ws.rnn(4), ws.endpoint(4, signal=1.0)
FAULTS: list[tuple[Callable[[], object], str]] = [
    (lambda: ws.solve(TASK, NETWORK, -1.0), "kappa: got -1, must be positive"),
    (lambda: ws.solve(TASK, ws.rnn(5), 0.1), "task: 4 times, but the network has T = 5"),
    (lambda: ws.rnn(4, activation="sin"), "activation"),  # type: ignore[arg-type]
    (lambda: ws.rnn(4, w=0.0), "w: got 0, must be positive"),
    (lambda: ws.endpoint(4), "give either signal or labels"),
    (lambda: ws.endpoint(4, signal=-2.0), "signal: got -2"),
    (lambda: ws.endpoint(4, signal="5"), 'signal: got "5", want a number'),  # type: ignore[arg-type]
    (lambda: ws.endpoint(4, labels=[float("nan")]), r"labels\[0\]: got nan"),
    (lambda: ws.endpoint(4, labels=[]), "labels: is empty"),
    (lambda: ws.sinusoid(4, supervised=[1.5]), r"supervised\[0\]: got 1.5"),  # type: ignore[list-item]
    (lambda: ws.sinusoid(4, supervised=[1, 1]), "want different output times"),
    (lambda: ws.sinusoid(4, period=0.0), "period: got 0"),
    (lambda: ws.sinusoid(0), "steps: got 0"),
    (lambda: ws.critical_signal(NETWORK, -0.1), "kappa: got -0.1, must be positive"),
    (lambda: ws.critical_signal(ws.dnn(4), 0.1), "that of linear RNNs"),
    (lambda: ws.order_parameter_law(1.0, NETWORK, 0.1, 0), "width: got 0"),
    (lambda: ws.landau_curve(1.0, NETWORK, 0.1, [1.0, 2.0]), "must start at 0"),
    (lambda: ws.solve(NETWORK, TASK, 0.1), "task: got Architecture"),  # type: ignore[arg-type]
    (lambda: ws.solve(ws.Task(1e200 * TASK.inputs, TASK.targets), NETWORK, 0.1), "within -1e9"),
    (lambda: ws.solve(ws.Task(0 * TASK.inputs, TASK.targets), NETWORK, 0.1), "all inputs are 0"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, threads=0), "threads: got 0"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, "kinetic", step_size="a"), "step_size: got"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, theory=3), "theory: got int"),  # type: ignore[arg-type]
    (lambda: ws.descend(TASK, NETWORK, 0.1, 16, step_size=-1.0), "step_size: got -1"),
    (lambda: ws.descend(TASK, NETWORK, 0.1, 16, weight_decay="no"), "want True or False"),  # type: ignore[arg-type]
    (lambda: ws.compare(None, None), "draws: got NoneType"),  # type: ignore[arg-type]
    (lambda: ws.compare(None, ws.solve(TASK, NETWORK, 0.1)), "draws: want the dataset"),
    (lambda: ws.sinusoid(4, supervised=[5]), r"supervised: got \[5\]"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, "hmc"), "method: got 'hmc'"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, draw=5), "draw: unknown setting"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 0), "width: got 0"),
    (lambda: ws.sample(TASK, NETWORK, 0.1, 32, start="lowest"), "theory: missing"),
    (
        lambda: ws.sample(TASK, NETWORK, 0.1, 32, theory=ws.solve(TASK, NETWORK, 0.2)),
        "theory: of another task, network or kappa",
    ),
]


@pytest.mark.parametrize(("call", "says"), FAULTS, ids=[says for _, says in FAULTS])
def test_faults_are_one_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        call()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(("arrays", "says"), [
    (([[[1.0]]], [[np.inf]]), "task targets: infinite"),
    (([[[1.0 + 1j]]], [[1.0]]), "task inputs: not an array of real numbers"),
    (([[["a"]]], [[1.0]]), "task inputs: not an array of real numbers"),
    (([[[1.0], [1.0, 2.0]]], [[1.0, 1.0]]), "task inputs: not an array of real numbers"),
    (([[[1.0]]], [[1.0]], [[0.5]]), "task supervised: want 0 and 1"),
    ((np.ones((0, 4, 1)), np.ones((0, 4))), "no axis may be empty"),
])  # fmt: skip
def test_arrays_that_are_no_task(arrays: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ws.Task(*arrays)


def test_numbers_of_numpy_are_numbers() -> None:
    draws = ws.sample(TASK, ws.rnn(np.int64(4), w=np.float32(1)), 0.1, np.int64(16), **SHORT)  # type: ignore[arg-type]
    assert draws.sizes["draw"] == SHORT["draws"]


def test_theory_of_another_condition_is_refused() -> None:
    draws = ws.sample(TASK, NETWORK, 0.1, 32, **SHORT)
    with pytest.raises(ConfigError, match="theory: of another task, network or kappa"):
        ws.compare(ws.solve(ws.endpoint(4, signal=1.5), NETWORK, 0.1), draws)
    assert json.loads(draws.attrs["run"])["task"]["kind"] == "arrays"
