"""Tasks from a file: allowed and refused contents; theory and samplers accept them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import KAPPA, assert_z, exact_run, lines_of_failure, resolve, succeed

from weightsharing.errors import FileError
from weightsharing.model.axes import kernel_matrix
from weightsharing.model.task_file import file_task
from weightsharing.model.tasks import EndpointTask, FileTask
from weightsharing.theory.action import action
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.transition import critical_signal

PATTERNS, STEPS, FEATURES = 2, 3, 4
INPUT, OUTPUT = ("pattern", "time", "feature"), ("pattern", "output_time")
Change = Callable[[dict[str, Any]], None]


def arrays() -> dict[str, Any]:
    """The variables of a valid file."""
    generator = np.random.default_rng(5)
    targets = generator.normal(size=(PATTERNS, STEPS))
    targets[0, 1] = np.nan
    inputs = generator.normal(size=(PATTERNS, STEPS, FEATURES))
    return {
        "inputs": (INPUT, inputs),
        "targets": (OUTPUT, targets),
    }


def stored(path: Path, variables: dict[str, Any]) -> Path:
    xr.Dataset(variables).to_netcdf(path)
    return path


def test_all_targets_in_a_file_are_trained_on(tmp_path: Path) -> None:
    variables = arrays()
    task = file_task(stored(tmp_path / "mine.nc", variables), PATTERNS, STEPS)
    np.testing.assert_array_equal(task.inputs, variables["inputs"][1])
    np.testing.assert_array_equal(task.targets, variables["targets"][1])
    np.testing.assert_array_equal(task.supervised, [[True, False, True], [True, True, True]])


def test_axes_may_come_in_any_order_and_targets_may_be_left_out(tmp_path: Path) -> None:
    variables = arrays()
    axes, inputs = variables["inputs"]
    variables["inputs"] = (axes[::-1], inputs.T)
    variables["supervised"] = (("output_time", "pattern"), np.array([[1, 0], [0, 0], [0, 1]]))
    task = file_task(stored(tmp_path / "mine.nc", variables), PATTERNS, STEPS)
    np.testing.assert_array_equal(task.inputs, inputs)
    np.testing.assert_array_equal(task.targets, variables["targets"][1])
    np.testing.assert_array_equal(task.supervised, [[True, False, False], [False, False, True]])


def without(name: str) -> Change:
    return lambda variables: variables.pop(name) and None


def with_value(name: str, at: tuple[int, ...], value: float) -> Change:
    return lambda variables: variables[name][1].__setitem__(at, value)


def with_variable(name: str, axes: tuple[str, ...], values: np.ndarray) -> Change:
    return lambda variables: variables.update({name: (axes, values)})


WRONG: list[tuple[Change, str]] = [
    (without("inputs"), "has no variable 'inputs'"),
    (without("targets"), "has no variable 'targets'"),
    (with_variable("targets", ("pattern", "step"), np.zeros((2, 3))), "targets: axes"),
    (
        with_variable("targets", OUTPUT, np.zeros((2, 4))),
        "4 along 'output_time', but the run has 3",
    ),
    (with_variable("supervised", OUTPUT, np.ones((2, 3))), "NaN or infinite at a supervised time"),
    (with_variable("supervised", OUTPUT, np.zeros((2, 3))), "no target is trained on"),
    (with_variable("supervised", OUTPUT, np.full((2, 3), 7)), "supervised: want 0 and 1 only"),
    (with_variable("targets", OUTPUT, np.array([["1"] * 3] * 2)), "targets: not real numbers"),
    (with_value("inputs", (0, 0, 0), np.inf), "inputs: not all finite"),
    (with_value("targets", (0, 0), np.inf), "targets: infinite"),
    (with_variable("inputs", INPUT, np.zeros((2, 3, 1))), "all zero"),
    (with_variable("inputs", INPUT, np.zeros((2, 3, 0))), "all zero"),
    (with_variable("time", ("time",), np.array([2, 1, 0])), "'time' must count from 0"),
    (with_variable("output_time", ("output_time",), np.arange(3)), "must count from 1"),
]


@pytest.mark.parametrize(("change", "says"), WRONG, ids=[says for _, says in WRONG])
def test_a_file_that_does_not_fit_is_named(change: Change, says: str, tmp_path: Path) -> None:
    variables = arrays()
    change(variables)
    with pytest.raises(FileError, match=r"mine\.nc: ") as refused:
        file_task(stored(tmp_path / "mine.nc", variables), PATTERNS, STEPS)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_of_other_patterns_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "mine.nc", arrays())
    with pytest.raises(FileError, match="inputs: 2 along 'pattern', but the run has 3"):
        file_task(path, 3, STEPS)
    with pytest.raises(FileError, match="No such file"):
        file_task(tmp_path / "none.nc", PATTERNS, STEPS)
    path.write_text("not NetCDF")
    with pytest.raises(FileError, match=r"not NetCDF; Dataset\.to_netcdf"):
        file_task(path, PATTERNS, STEPS)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9])
def test_a_file_that_ends_early_is_refused(engine: Any, kept: float, tmp_path: Path) -> None:
    path = tmp_path / "mine.nc"
    xr.Dataset(arrays()).to_netcdf(path, engine=engine)
    file_task(path, PATTERNS, STEPS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(FileError, match=r"mine\.nc: ") as refused:
        file_task(path, PATTERNS, STEPS)
    assert "\n" not in str(refused.value)


def test_a_task_of_a_file_is_solved_and_sampled_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task of figure 4 in a file, with T = 4 at twice lambda_c: the action and the kernel.

    The label is rotated by 30 degrees between two orthonormal inputs. This only rotates the kernel.
    """
    monkeypatch.chdir(tmp_path)
    run = exact_run(1.0, width=512, draws=200, warm_up=50, start="lowest")
    size = np.sqrt(2.0 * critical_signal(4, run.architecture.prior, KAPPA))
    labels = (float(size * np.cos(np.pi / 6)), float(size * np.sin(np.pi / 6)))
    same = EndpointTask(labels=labels).make(4)
    variables = {"inputs": (INPUT, same.inputs), "targets": (OUTPUT, same.targets)}
    stored(tmp_path / "mine.nc", variables)
    file_run = run.model_copy(update={"task": FileTask(path="mine.nc", patterns=2)})
    resolve(file_run)
    succeed("theory", "run.yaml", "task.nc", "theory.nc")
    (tmp_path / "mine.nc").unlink()  # The later commands need task.nc only.
    files = ("run.yaml", "task.nc", "samples.nc")
    succeed("sample", *files, "--theory", "theory.nc")
    succeed("measure", *files, "measures.nc", "--theory", "theory.nc")
    with xr.open_dataset("theory.nc") as theory:
        lowest_action = float(theory["action"][0])
        kernel = theory["kernel"].isel(point=0).to_numpy()
    problem = linear_problem(same, run.architecture, KAPPA)
    assert lowest_action == pytest.approx(0.629914, abs=1e-6)
    assert action(problem, kernel_matrix(kernel)) == pytest.approx(lowest_action, abs=1e-9)
    with xr.open_dataset("measures.nc") as measures:
        assert json.loads(measures.attrs["run"])["task"]["path"] == "mine.nc"
        measured, error, expected = (
            kernel_matrix(measures[f"kernel{end}"].to_numpy())[np.triu_indices(8)]
            for end in ("", "_standard_error", "_finite_width")
        )
    # The neglected terms, of order 1/N^2, are far below the errors.
    assert_z(measured, expected, error)
    words = ("resolve", file_run.model_dump_json(), "run.yaml", "--task", "task.nc")
    assert lines_of_failure(capsys, *words) == [
        "mine.nc: cannot be read: No such file or directory"
    ]


def test_a_task_without_a_theory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Float64 cannot tell the two patterns apart: the run is sampled, but not solved."""
    monkeypatch.chdir(tmp_path)
    variables = arrays()
    inputs = variables["inputs"][1]
    inputs[1] = inputs[0] + 1e-5 * inputs[1]
    stored(tmp_path / "mine.nc", variables)
    run = exact_run(1.0, steps=STEPS, width=64)
    architecture = run.architecture.model_copy(update={"activation": "erf"})
    task = FileTask(path="mine.nc", patterns=PATTERNS)
    resolve(run.model_copy(update={"task": task, "architecture": architecture}))
    (line,) = lines_of_failure(capsys, "theory", "run.yaml", "task.nc", "theory.nc")
    assert line.startswith("test/run: task inputs: an eigenvalue")
