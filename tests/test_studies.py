"""Studies: their grids, their theory and the refusals; docs/extending.md runs one through Snakemake."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import ROOT, lines_of_failure, succeed

from weightsharing.config import load, study_part, study_runs
from weightsharing.errors import FileError
from weightsharing.identity import identity
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.model.tasks import EndpointTask, GaussianTask
from weightsharing.sampling.run import Run
from weightsharing.studies.collect import labels, solve_study
from weightsharing.studies.plot import draw
from weightsharing.studies.section import Study, theory_points
from weightsharing.theory.solve import solve
from weightsharing.theory.transition import critical_signal

SAMPLER = {"method": "exact", "width": 32, "warm_up": 20, "thinning": 1, "leapfrog_steps": 4,
           "draws": 20, "chains": 2, "start": "prior"}  # fmt: skip
STUDY: dict[str, Any] = {
    "networks": [
        {"kind": "rnn", "steps": 4, "prior": {"w": 0.8, "u": 1.0, "v": 1.0}},
        {"kind": "dnn", "steps": 4, "prior": {"w": 0.8, "u": 1.0, "v": 1.0}},
    ],
    "task": {"kind": "endpoint", "labels": [1.0, -2.0]},
    "kappa": 0.2,
    "grid": {"signal": [1.0, 9.0], "steps": [3, 4, 5]},
}  # fmt: skip


def study(**changes: Any) -> Study:
    return Study.model_validate_json(json.dumps(copy.deepcopy(STUDY) | changes))


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"studies": {"mine": copy.deepcopy(STUDY) | changes}}))
    return path


def solved(one: Study) -> xr.Dataset:
    return solve_study("mine", one, 1, lambda done, total: None)


def test_theory_on_the_grid_is_that_of_each_point() -> None:
    """Each point against ``solve`` written out: signal scales the labels, steps change the network."""
    one = study()
    dataset = solved(one)
    assert dataset.order_parameter_theory.dims == ("network", "signal", "steps")
    for kind in ("rnn", "dnn"):
        for signal in (1.0, 9.0):
            for steps in (3, 4, 5):
                labels = np.array([1.0, -2.0]) * (signal / 5.0) ** 0.5
                network = Architecture(kind=kind, steps=steps, prior=Prior(w=0.8, u=1.0, v=1.0))
                theory = solve(EndpointTask(labels=tuple(labels)).make(steps), network, 0.2)
                found = dataset.sel(network=kind.upper(), signal=signal, steps=steps)
                assert float(found.action_theory) == pytest.approx(
                    float(theory.action[0]), rel=1e-9
                )
                m = abs(float(theory.order_parameter[0]))
                assert float(found.order_parameter_theory) == pytest.approx(m, abs=1e-6)
    critical = [critical_signal(steps, Prior(w=0.8, u=1.0, v=1.0), 0.2) for steps in (3, 4, 5)]
    np.testing.assert_allclose(dataset.critical_signal.sel(network="RNN"), critical, rtol=1e-12)
    assert dataset.critical_signal.sel(network="DNN").isnull().all()
    assert dataset.coexistence_signal.sel(network="RNN").notnull().sum() == 1  # T = 5


def test_pictures_are_maps_or_lines() -> None:
    one = study()
    figure = draw(solved(one), one)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["RNN", "DNN"]
    assert all(axes.collections for axes in figure.axes[:2])
    single = study(grid={"kappa": {"first": 0.01, "last": 1.0, "points": 3, "spacing": "log"}})
    dataset = solved(single)
    np.testing.assert_allclose(dataset.kappa, [0.01, 0.1, 1.0])
    axes = draw(dataset, single).axes[0]
    assert axes.get_xscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), dataset.order_parameter_theory[0])


def test_theory_that_did_not_converge_is_not_drawn() -> None:
    one = study(grid={"kappa": [0.1, 0.2, 0.4]})
    dataset = solved(one)
    dataset["converged"][0, 1] = 0.0
    figure = draw(dataset, one)
    (line,) = (line for line in figure.axes[0].lines if line.get_label() == "theory")
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False]
    assert [text.get_text() for text in figure.texts] == [
        "theory did not converge at 1 of 6 points, not shown"
    ]
    assert not draw(solved(one), one).texts


def test_a_study_is_another_one_when_its_file_changes(tmp_path: Path) -> None:
    """Its hash is part of what the results belong to, and the solver refuses another file."""
    data = tmp_path / "data.nc"
    task = {"kind": "file", "path": str(data), "patterns": 2}
    generator = np.random.default_rng(4)

    def store() -> None:
        xr.Dataset(
            {
                "inputs": (("pattern", "time", "feature"), generator.normal(size=(2, 4, 3))),
                "targets": (("pattern", "output_time"), generator.normal(size=(2, 4))),
            }
        ).to_netcdf(data, engine="h5netcdf")

    store()
    config = load([ROOT / "config.yaml", write(tmp_path, task=task, grid={"kappa": [0.1]})])
    before = study_part(config, "mine")
    store()
    after = study_part(config, "mine")
    assert identity("study", before, "code") != identity("study", after, "code")
    with pytest.raises(FileError, match="changed since the run was resolved"):
        study_part(before, "mine")


def test_measures_of_another_study_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = {"grid": {"kappa": [0.2]}, "networks": STUDY["networks"][:1], "samplers": [SAMPLER]}
    path = write(tmp_path, **grid)
    (run,) = study_runs(load([ROOT / "config.yaml", path])).values()
    files = {name: tmp_path / name for name in ("run.yaml", "task.nc", "samples.nc", "measures.nc")}
    succeed("resolve", run.model_dump_json(), files["run.yaml"], "--task", files["task.nc"])
    succeed("sample", files["run.yaml"], files["task.nc"], files["samples.nc"])
    succeed("measure", *files.values())
    words = ("study", "mine", tmp_path / "out.nc", "--results", files["measures.nc"], "--config")
    succeed(*words, ROOT / "config.yaml", path)
    other = write(tmp_path, **grid | {"kappa": 0.3, "grid": {"w": [0.7]}})
    (line,) = lines_of_failure(capsys, *words, ROOT / "config.yaml", other)
    assert "measures.nc: " in line


def test_runs_are_those_of_the_sampled_points(tmp_path: Path) -> None:
    path = write(
        tmp_path, grid={"signal": [1.0, 4.0, 9.0], "width": [32, 64]},
        sampled={"signal": [4.0]}, samplers=[SAMPLER],
    )  # fmt: skip
    found = study_runs(load([ROOT / "config.yaml", path]))
    assert sorted(found) == [
        f"studies/mine/{network}-signal4-width{width}-exact0"
        for network in ("dnn1", "rnn0") for width in (32, 64)
    ]  # fmt: skip
    run = found["studies/mine/rnn0-signal4-width64-exact0"]
    assert isinstance(run, Run)
    assert (run.sampler.width, run.kappa) == (64, 0.2)
    assert np.sum(np.square(run.task.make(4).targets[:, -1])) == pytest.approx(4.0)  # type: ignore[union-attr]
    assert len({one.seed for one in found.values()}) == len(found)


def test_names_of_networks_say_what_differs() -> None:
    networks = [
        {"kind": "rnn", "steps": 4, "activation": name, "prior": {"w": w, "u": 1.0, "v": 1.0}}
        for name, w in (("linear", 1.0), ("erf", 0.5))
    ]
    found = labels(study(networks=networks, grid={"kappa": [0.1]}))
    assert found == ["RNN, linear, w = 1", "RNN, erf, w = 0.5"]


def test_a_gaussian_task_is_the_same_for_the_same_seed() -> None:
    spec = GaussianTask(patterns=50, features=4, supervised=(2, 4), seed=3)
    task, again = spec.make(5), spec.make(5)
    np.testing.assert_array_equal(task.inputs, again.inputs)
    assert task.inputs.shape == (50, 5, 4)
    assert task.supervised.any(axis=0).tolist() == [False, True, False, True, False]
    # Mean and variance of 1000 standard normal numbers, within five standard errors.
    assert abs(task.inputs.mean()) < 5.0 / 1000**0.5
    assert abs(task.inputs.var() - 1.0) < 5.0 * (2.0 / 1000) ** 0.5


def test_examples_are_valid() -> None:
    for path in sorted((ROOT / "workflow/studies").glob("*.yaml")):
        config = load([ROOT / "config.yaml", path])
        assert config.studies
        study_runs(config)
        for name, one in config.studies.items():
            assert list(theory_points(name, one))


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"grid": {"period": [4.0]}}, "grid: axis period needs a sinusoid task"),
    ({"grid": {"width": [32]}}, "grid: axis width needs samplers"),
    ({"grid": {"lambda": [1.0]}}, "studies.mine.grid.lambda"),
    ({"grid": {"steps": [3.5]}}, "grid.steps: got [3.5], want whole numbers"),
    ({"grid": {"kappa": [0.1, 0.1]}}, "grid.kappa: got [0.1, 0.1], the values must differ"),
    ({"sampled": {"kappa": [0.1]}}, "sampled: kappa is no axis of grid"),
    ({"grid": {"kappa": {"first": 1.0, "last": 2.0, "points": 1000}, "signal": [
        float(n) for n in range(1, 40)]}}, "points in all; at most 20000 are allowed"),
    ({"quantity": "order"}, "studies.mine.quantity: got \"order\""),
    ({"quantity": "generalisation_error"}, "quantity: generalisation_error needs targets at all times"),
    ({"grid": {"signal": [-1.0, 2.0]}}, "studies.mine.grid.signal.0: got -1"),
    ({"grid": {"signal": {"first": 0, "last": 1.0, "points": 3}}}, "grid.signal.first: got 0"),
    ({"grid": {"kappa": [0.1]}, "networks": [{"kind": "rnn", "steps": 30, "activation": "erf"}]},
     "no theory of activation 'erf' beyond T P = 20"),
    ({"grid": {"kappa": [0.1]}, "task": {"kind": "arrays", "inputs": [[[1.0]]], "targets": [[1.0]]}},
     "studies.mine.task: task: 1 times, but the network has T = 4"),
    ({"sampled": {"signal": [1.0]}}, "sampled: given without samplers"),
    ({"samplers": [SAMPLER | {"width": 1}]}, "the exact sampler needs at least T P = "),
    ({"task": {"kind": "gaussian", "patterns": 2, "features": 2, "supervised": [9]},
      "grid": {"kappa": [0.1]}}, "want different output times from 1 to T = 4"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "says"), FAULTS, ids=[says for _, says in FAULTS])
def test_bad_studies_are_refused(
    changes: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, **changes)
    lines = lines_of_failure(capsys, "check", ROOT / "config.yaml", path)
    assert any(says in line for line in lines), lines


def test_an_unknown_study_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = lines_of_failure(
        capsys, "study", "other", tmp_path / "out.nc", "--config", ROOT / "config.yaml", write(tmp_path)
    )  # fmt: skip
    assert line == 'study: got "other", must be one of mine'


def test_values_of_a_run_are_set_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = study_runs(load([ROOT / "config.yaml", write(tmp_path, samplers=[SAMPLER])]))
    given = next(iter(run.values()))
    Path("run.json").write_text(given.model_dump_json())
    words = ("run.json", "run.yaml", "--task", "task.nc", "--set")
    succeed("resolve", *words, "sampler.width=48", "task.labels=[1.0, 3.0]", "id=mine/x")
    found = yaml.safe_load(Path("run.yaml").read_text())
    assert (found["id"], found["sampler"]["width"], found["task"]["labels"]) == (
        "mine/x",
        48,
        [1, 3],
    )
    for bad in ("sampler.width", "task.labels.first=1"):
        (line,) = lines_of_failure(capsys, "resolve", *words, bad)
        assert line == f"--set {bad}: want KEY=VALUE with a key of the run"
    (line,) = lines_of_failure(capsys, "resolve", *words, "sampler.widht=3")
    assert line.startswith("sampler.widht: ")
