"""Configurations that YAML reads in a surprising way, and those too large to check: one line, at once."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import ROOT, lines_of_failure, succeed

from weightsharing.cli import main
from weightsharing.config import load, read, runs, validate
from weightsharing.errors import ConfigError, FileError
from weightsharing.model.architecture import Architecture
from weightsharing.model.record import LONGEST_LINE, MOST_LINES
from weightsharing.model.task_file import file_task
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling.run import Run
from weightsharing.strict_yaml import StrictError, parse
from weightsharing.theory.solve import solve
from weightsharing.theory.transition import critical_signal

CONFIG = ROOT / "config.yaml"
LAUGHS = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(9)
)

# Laid over config.yaml: the text of a preset, and what its one line says.
REFUSED = [
    ("fig4:\n  kappa: 0.1\n  kappa: 0.2\n", "line 3: key kappa: also in line 2"),
    ("fig4: {<<: {kappa: 0.1}, <<: {kappa: 0.2}}", "key <<: also in line 1"),
    ("seed: 1:30", "line 1: got 1:30; write a number in decimal digits"),
    ("seed: 0777", "got 0777"),
    ("seed: 0x10", "got 0x10"),
    ("seed: 1_000", "got 1_000"),
    ("seed: !!int one", "got one"),
    (f"seed: {'1' * 5000}", "write a number"),
    ("fig4: {2: 3}", "line 1: key 2: must be text"),
    ("? [a]\n: 1", "must be text"),
    ("seed: !!set {a}", "tag tag:yaml.org,2002:set: not allowed"),
    ("seed: = ", "not allowed"),
    ("2024-01-01: 3", "2024-01-01: unknown key"),
    ("x: &x [*x]", "line 1: *x stands inside what it names"),
    ("x: " + "[" * 3000 + "]" * 3000, "nested more than 50 levels"),
    (LAUGHS, "more than 60000 values, aliases counted in full"),
    ("x: [" + "1, " * 400_000 + "]", "at most 1048576 are read"),
    ("fig5: {shown: [" + "[1,2,3]," * 40_000 + "]}", "more than 60000 values"),
    ("fig4: {lambdas: [" + "1.0, " * 50_000 + "]}", "at most 1000 items"),
    ("fig5: {sets: 1000000}", "less than or equal to 100"),
    ("k" * 2000 + ": 1", "not YAML"),
    ("? " + "k" * 2000 + "\n: 1", "kkk..."),
    ("fig4: {depths: [3, 4, 5, 3]}", "the values must differ"),
    ("fig2: {shown: [16, 16]}", "fig2.shown: got [16, 16], the widths must differ"),
    ("fig4: {lambdas: [13.0]}", "fig4.lambdas: got 13, must not exceed largest_signal = 12"),
    ("fig3: {signs: [1, true]}", "fig3.signs.1: got true; input should be -1 or 1"),
    ("fig4: {sampler: {width: 100000}}", "149 GiB"),
    ("fig4: {exact: {draws: 1000000000}}", "fig4.exact.width"),
    ("fig4: {exact: {chains: 1000000000000000000}}", "GiB"),
    ("fig3: {steps: 1000000000}", "less than or equal to 10000"),
    ("fig4: {depths: [3, 4, 51]}", "less than or equal to 50"),
    ("fig4: {sampler: {step_size: 1.0e-310}}", "more than 1e+15 steps"),
    ("fig4: {kappa: 1e-1x}", 'fig4.kappa: got "1e-1x"; input should be a valid number'),
    ("fig4: {sampler: {width: '1e2'}}", "fig4.sampler.width: got 100.0"),
]  # fmt: skip


def laid_over(text: str, folder: Path) -> list[Path]:
    preset = folder / "preset.yaml"
    preset.write_text(text)
    return [CONFIG, preset]


@pytest.mark.parametrize(("text", "says"), REFUSED, ids=lambda value: value[:20])
def test_one_short_line_at_once(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.monotonic()
    (line,) = lines_of_failure(capsys, "check", *laid_over(text, tmp_path))
    assert time.monotonic() - before < 5.0
    assert says in line
    assert len(line) <= LONGEST_LINE


@pytest.mark.parametrize("text", [
    "fig4: {lambdas: [" + "-1.0, " * 50_000 + "]}",
    "fig4: {" + "".join(f"key{n}: 1, " for n in range(25_000)) + "}",
], ids=["values", "keys"])  # fmt: skip
def test_twenty_faults_are_listed_and_the_rest_counted(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = time.monotonic()
    lines = lines_of_failure(capsys, "check", *laid_over(text, tmp_path))
    assert time.monotonic() - before < 5.0
    assert len(lines) == MOST_LINES
    assert lines[-1].startswith("and ")
    assert lines[-1].endswith(" more")


def test_merge_keys_work_and_may_be_overridden() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [*a, {z: 4}], x: 0}\n"
    assert parse(text) == yaml.safe_load(text)
    assert parse(text)["b"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    "path", [CONFIG, *sorted((ROOT / "workflow" / "presets").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_shipped_files_are_read_as_by_plain_yaml(path: Path) -> None:
    assert read(path) == yaml.safe_load(path.read_text())


def test_two_documents_or_a_number_too_many_are_strict_errors() -> None:
    for text in ("a: 1\n---\nb: 2\n", "a: *b", "a: !!python/object:os.x {}"):
        with pytest.raises(StrictError):
            parse(text)


def test_text_that_is_a_number_is_this_number(tmp_path: Path) -> None:
    text = """
fig4: {kappa: 1e-1, depths: ["3", "4", "5"], lambdas: ["1.5", "2"], sampler: {width: "24"}}
fig3: {signs: ["1", "-1"]}
seed: "7"
"""
    plain = "fig4: {kappa: 0.1, depths: [3, 4, 5], lambdas: [1.5, 2.0], sampler: {width: 24}}\n"
    plain += "fig3: {signs: [1, -1]}\nseed: 7\n"
    assert load(laid_over(text, tmp_path)) == load(laid_over(plain, tmp_path))


@pytest.mark.parametrize("left", [{}, {"w": 0.5}])
def test_a_given_prior_names_all_its_variances(left: dict[str, float]) -> None:
    settings: dict[str, Any] = copy.deepcopy(yaml.safe_load(CONFIG.read_text()))
    settings["fig5"]["prior"] = left
    with pytest.raises(ConfigError, match=r"fig5\.prior\.u: missing"):
        validate(settings)


def test_a_preset_alone_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for preset in ("smoke", "paper"):
        (line,) = lines_of_failure(capsys, "check", ROOT / "workflow/presets" / f"{preset}.yaml")
        assert "name config.yaml first" in line


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n"]
    command += ["--directory", str(folder), "--cores", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_snakemake_takes_nested_keys_from_its_command_line(tmp_path: Path) -> None:
    """As documented in docs/extending.md."""
    words = ("fig4={lambdas: [1.5, 2.5], depths: [3, 4], kappa: 0.2}", "device=cpu")
    configuration = ("--configfile", str(CONFIG), "--config", *words)
    done = snakemake(tmp_path, "figures/fig4.pdf", *configuration)
    assert done.returncode == 0, done.stderr
    assert "rnn-depth3-exact" in done.stdout + done.stderr
    assert "rnn-depth5-exact" not in done.stdout + done.stderr


def test_snakemake_refuses_a_repeated_key(tmp_path: Path) -> None:
    _, preset = laid_over("fig4:\n  kappa: 0.1\n  kappa: 0.2\n", tmp_path)
    done = snakemake(tmp_path, "--configfile", str(CONFIG), str(preset))
    assert done.returncode != 0
    assert "line 3: key kappa: also in line 2" in done.stdout + done.stderr


# --- runs given to the verbs --------------------------------------------------------------------------


def one_run(**changes: Any) -> dict[str, Any]:
    family = runs(load([CONFIG]))["fig4/rnn-depth4-exact"]
    assert isinstance(family, Run)
    return family.members[0].model_dump(mode="json") | {"id": "mine/run"} | changes


@pytest.mark.parametrize(("text", "says"), [
    ("abc", ['got "abc"; want JSON, but expected value at line 1 column 1']),
    ("[" * 3000, ['got "[[[']),
    (json.dumps(one_run(kind="walk")), ["kind: got \"walk\"; must be one of 'run', 'transition'"]),
    (json.dumps(one_run(kappa=-1.0)), ["kappa: got -1.0; input should be greater than 0"]),
    (json.dumps(one_run(task={"kind": "endpoint", "labels": ["a", 1e200]})),
     ['task.labels.0: got "a"', "task.labels.1: got 1e+200"]),
    (json.dumps(one_run(sampler=one_run()["sampler"] | {"draws": 3})), ["sampler.draws: got 3"]),
    (json.dumps({key: value for key, value in one_run().items() if key != "kind"}),
     ["kind: missing"]),
], ids=range(7))  # fmt: skip
def test_a_bad_run_is_a_line_for_each_fault(
    text: str, says: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of_failure(capsys, "resolve", text, tmp_path / "run.yaml")
    assert len(lines) == len(says)
    assert all(line.startswith(words) for line, words in zip(lines, says, strict=True))
    assert list(tmp_path.iterdir()) == []


def test_transition_refuses_a_training_run_and_an_empty_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = tmp_path / "run.yaml", tmp_path / "transition.nc"
    succeed("resolve", json.dumps(one_run()), run)
    (line,) = lines_of_failure(capsys, "transition", run, output)
    assert line.endswith('run.yaml: holds a "run", not a "transition"')
    run.write_text("")
    (line,) = lines_of_failure(capsys, "transition", run, output)
    assert line.endswith("run.yaml: is empty")


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "soon"])
def test_checkpoint_seconds_are_a_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "a", "b", "c", f"--checkpoint-seconds={seconds}"])
    assert f"invalid seconds value: '{seconds}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "size"), [("inputs", 1e150), ("inputs", 1e-200), ("targets", 1e150)]
)
def test_extreme_numbers_of_a_task_file_are_named(name: str, size: float, tmp_path: Path) -> None:
    data = xr.Dataset({
        "inputs": (("pattern", "time", "feature"), np.ones((1, 3, 1))),
        "targets": (("pattern", "output_time"), np.ones((1, 3))),
    })  # fmt: skip
    path = tmp_path / "task.nc"
    data.to_netcdf(path)
    assert file_task(path, 1, 3).patterns == 1
    data.assign({name: data[name] * size}).to_netcdf(path)
    shown = re.escape(f"{size:g}")
    with pytest.raises(FileError, match=rf"task\.nc: {name}: the largest is {shown}, want"):
        file_task(path, 1, 3)


def test_the_term_in_one_over_n_is_not_a_number_at_the_transition() -> None:
    """It diverges there. One rounding step away, it must not be a number of no meaning either."""
    network = Architecture(kind="rnn", steps=4)
    critical = critical_signal(4, network.prior, 0.1)
    for distance in (0.0, 1e-15, -1e-15):
        task = EndpointTask(labels=((critical * (1.0 + distance)) ** 0.5,)).make(4)
        points = solve(task, network, 0.1)
        assert np.isnan(points["kernel_correction"]).all()
        assert np.isnan(points["prediction_correction"]).all()
    task = EndpointTask(labels=((1.1 * critical) ** 0.5,)).make(4)
    assert np.isfinite(solve(task, network, 0.1)["kernel_correction"]).all()


def test_the_term_in_one_over_n_is_left_out_where_it_needs_gigabytes() -> None:
    task = EndpointTask(labels=(1.0, -1.0) * 11).make(3)
    points = solve(task, Architecture(kind="rnn", steps=3), 0.1)
    assert points.attrs["converged"]
    assert np.isnan(points["kernel_correction"]).all()
    assert points["prediction_correction"].shape == points["prediction"].shape[1:]
    assert np.isnan(points["prediction_correction"]).all()
