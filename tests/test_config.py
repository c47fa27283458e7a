"""Configuration: one line names each fault, no file is touched; presets change no law."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from conftest import ROOT, lines_of_failure, succeed
from pydantic import ValidationError

from weightsharing.config import (
    Config,
    figure_runs,
    given,
    load,
    overlay,
    part,
    runs,
    theory_runs,
    validate,
)
from weightsharing.errors import ConfigError
from weightsharing.figures.captions import caption, plain
from weightsharing.figures.claims import Claim
from weightsharing.figures.registry import FIGURES, in_order
from weightsharing.figures.results import Result, Results
from weightsharing.model.architecture import Prior
from weightsharing.model.tasks import SignalsTask
from weightsharing.sampling.run import Run
from weightsharing.sampling.settings import DynamicsSettings
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import critical_signal

DEFAULT: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
PRESETS = sorted((ROOT / "workflow" / "presets").glob("*.yaml"))
DELETED = object()
# Each trained network of these figures has its like by the exact sampler.
BOTH_SAMPLERS = ("fig3", "fig5")


def laid_over(*presets: str) -> Config:
    """The shipped configuration with presets laid over it."""
    paths = [ROOT / "workflow" / "presets" / f"{preset}.yaml" for preset in presets]
    return load([ROOT / "config.yaml", *paths])


# Key, its new value, and the text that the message must hold besides the key.
BAD: list[tuple[str, Any, str]] = [
    # unknown keys
    ("sed", 3, "unknown key"),
    ("fig9", {}, "unknown key"),
    ("fig4.lambda", [1.0], "unknown key"),
    ("fig4.prior.weights", 1.0, "unknown key"),
    ("fig4.sampler.stepsize", 1e-3, "unknown key"),
    ("fig4.sampler.momentum", 0.9, "unknown key"),
    ("fig4.sampler.momentum", None, "unknown key"),
    ("fig4.sampler.leapfrog_steps", 8, "unknown key"),
    # missing keys
    ("seed", DELETED, "missing"),
    ("fig4", DELETED, "missing"),
    ("fig4.kappa", DELETED, "missing"),
    ("fig4.sampler.width", DELETED, "missing"),
    # wrong types
    ("seed", "today", '"today"'),
    ("seed", 1.5, "1.5"),
    ("preset", 7, "7"),
    ("fig4", [1, 2], "[1, 2]"),
    ("fig4.kappa", "small", '"small"'),
    ("fig4.kappa", None, "null"),
    ("fig4.sampler.step_size", None, "null"),
    ("fig5.trained.dnn.refresh", None, "null"),
    ("fig4.prior", 1.0, "1.0"),
    ("fig4.depths", 4, "4"),
    ("fig4.lambdas", "1, 2", '"1, 2"'),
    ("fig4.lambdas", [1.0, "two"], '"two"'),
    ("fig4.sampler.width", 128.5, "128.5"),
    ("fig4.sampler.chains", True, "true"),
    # out of range
    ("preset", "../elsewhere", "../elsewhere"),
    ("seed", -1, "-1"),
    ("device", "tpu", "tpu"),
    ("fig4.kappa", 0.0, "greater than 0"),
    ("fig4.kappa", -0.1, "-0.1"),
    ("fig4.kappa", float("inf"), "finite"),
    ("fig4.prior.w", -1.0, "greater than 0"),
    ("fig4.depths", [2, 4], "greater than or equal to 3"),
    ("fig4.depths", [], "at least 1"),
    ("fig4.lambdas", [0.0], "greater than 0"),
    ("fig4.lambdas", [], "at least 1"),
    ("fig4.landau_ratios", [-1.0], "greater than 0"),
    ("fig4.curve_points", 2, "greater than or equal to 5"),
    ("fig4.sampler.method", "adam", "kinetic"),
    ("fig4.sampler.method", DELETED, "missing"),
    ("fig4.sampler.width", 0, "greater than or equal to 1"),
    ("fig4.sampler.step_size", 0.0, "greater than 0"),
    ("fig5.trained.dnn.friction", -1.0, "greater than 0"),
    ("fig4.sampler.burn_in", -1.0, "greater than or equal to 0"),
    ("fig4.sampler.chains", 1, "greater than or equal to 2"),
    ("fig4.sampler.precision", "float16", "float16"),
    ("fig4.sampler.start", "anywhere", "anywhere"),
    ("fig3.weak", 0.0, "greater than 0"),
    ("fig3.steps", 2, "greater than or equal to 3"),
    ("fig3.activation", "softmax", "softmax"),
    ("fig3.signs", [1, 2], "2"),
    ("fig3.signs", [1], "at least 2"),
    ("fig3.samplers.dnn_weak", DELETED, "missing"),
    ("fig3.samplers.rnn_weak.spectra", -1, "-1"),
    ("fig3.samplers.rnn_weak.keep_weights", "no", "no"),
    ("fig2.exact", [], "at least 1"),
    ("fig2.trained", {}, "{}"),
    ("fig3.exact.method", "sgld", "exact"),
    ("fig3.exact.warm_up", 3, "greater than or equal to 10"),
    ("fig3.exact.acceptance", 1.5, "less than"),
    ("fig3.exact.step_size", 0.1, "unknown key"),
    ("fig5.steps", 2, "greater than or equal to 3"),
    ("fig5.steps", 31, "less than or equal to 30"),
    ("fig5.period", 1.0, "greater than or equal to 2"),
    ("fig5.sets", 0, "greater than or equal to 1"),
    ("fig5.selection", "odd", "even"),
    ("fig5.shown", [], "at least 1"),
    ("fig5.trained.rnn", DELETED, "missing"),
    # inconsistent
    ("fig5.shown", [3, 11], "from 1 to T = 10"),
    ("fig5.shown", [3, 3], "from 1 to T = 10"),
    ("fig5.exact.width", 9, "at least T P = 10"),
    ("fig2.shown", [17], "must be widths"),
    ("fig3.exact.width", 31, "at least T P = 32"),
    ("fig4.exact.width", 3, "at least T P = 4"),
    ("fig3.weak", 2.0, "below strong"),
    ("fig3.samplers.rnn_weak.spectra", 7, "divide draws"),
    ("fig3.samplers.dnn_strong.ramp", 99.0, "burn_in"),
    ("fig3.samplers.dnn_strong.readout", "drawn", "'integrated' or 'sampled'"),
    ("fig4.sampled_depth", 7, "must be one of depths"),
    ("fig4.lambdas", [1.0, 2.0, 1.0], "must differ"),
    ("fig4.largest_signal", 2.0, "lambda_c"),
    ("fig4.sampler.draws", 10_000_000, "whole number"),
    ("fig4.sampler.draws", 999, "whole number"),
    ("fig4.landau_ratios", [0.6, 20.0], "must not exceed"),
    ("fig4.prior.w", 1e200, "less than or equal to"),
    ("fig4.prior.w", 1e-200, "too extreme"),
    ("figS1.depths", [5], "less than or equal to 4"),
    ("figS1.depths", [4, 4], "must differ"),
    ("figS1.offsets", [1.0, 1.0], "must differ"),
    ("figS1.offsets", [1e-5, 2e-5], "must differ in six digits"),
    ("figS1.offsets", [float("nan"), 1.0], "finite"),
    ("figS1.offsets", [-16.0, 1.0], "above -N^(1/2) = -16"),
    ("figS1.prior.w", 1e9, "lambda would be up to"),
    ("figS1.around", [256, 77], "must be widths of exact"),
    ("figS1.exact", [], "at least 1"),
    ("figS1.prior.w", 1e-200, "too extreme"),
    ("figS1.trained", [DEFAULT["figS1"]["trained"][0]] * 2, "must differ"),
    ("figS1.exact", [DEFAULT["figS1"]["exact"][0]] * 2, "must differ"),
    ("fig4.kappa", datetime.date(2024, 1, 1), "2024-01-01"),
    # texts that are no decimal numbers, or none that is allowed
    *(
        ("fig4.kappa", text, text)
        for text in ("nan", "inf", " 1", "1_000", "0x10", "true", "1:30", "")
    ),
    ("fig4.kappa", "-1e-1", "greater than 0"),
    ("fig4.kappa", "1e400", "finite"),
    ("fig4.sampler.width", "64.5", "64.5"),
    ("fig4.sampler.method", "1", "kinetic"),
]


def write_changed(path: Path, key: str, value: Any) -> Path:
    path.write_text(yaml.safe_dump(changed(key, value)))
    return path


def changed(key: str, value: Any) -> dict[str, Any]:
    settings: dict[str, Any] = copy.deepcopy(DEFAULT)
    *path, last = key.split(".")
    inner = settings
    for name in path:
        inner = inner[name]
    if value is DELETED:
        del inner[last]
    else:
        inner[last] = value
    return settings


def trained(config: Config, figure: str) -> list[Run]:
    return [run for run in figure_runs(config, figure) if isinstance(run, Run)]


def test_there_are_at_least_forty_bad_configurations() -> None:
    assert len({(key, str(value)) for key, value, _ in BAD}) >= 40


@pytest.mark.parametrize(("key", "value", "says"), BAD)
def test_bad_configuration_is_one_line_naming_the_key(
    key: str, value: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bad = write_changed(tmp_path / "bad.yaml", key, value)
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    (line,) = lines_of_failure(capsys, "check", bad)
    # The section that checks consistency names a value that is too extreme for it.
    of_prior = says in ("too extreme", "lambda would be up to")
    assert line.startswith(key.removesuffix(".w") if of_prior else key)
    assert says in line
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("fig4.sampler.stepsize", 1e-3), ("fig4.kappa", "small"), ("fig4.sampler.step_size", 0.0)],
)
def test_snakemake_refuses_a_bad_configuration_before_anything_runs(
    key: str, value: Any, tmp_path: Path
) -> None:
    bad = write_changed(tmp_path / "bad.yaml", key, value)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(tmp_path), "--configfile", str(bad), "--cores", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode != 0
    named = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith(key)]
    assert len(named) == 1, done.stderr
    assert "Traceback" not in done.stderr
    # Only the log of Snakemake may appear.
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.yaml", ".snakemake"}


def as_text(value: Any) -> Any:
    """A tree with each number as text."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return repr(value) if type(value) in (int, float) else value


def test_numbers_written_as_text_are_these_numbers() -> None:
    """YAML 1.1 makes text of 1e-1, and Snakemake of nested numbers on its command line."""
    studies = [
        yaml.safe_load(path.read_text()) for path in (ROOT / "workflow/studies").glob("*.yaml")
    ]
    settings = DEFAULT
    for study in studies:
        settings = overlay(settings, study)
    assert validate(as_text(settings)) == validate(settings)
    assert validate(changed("fig4.kappa", "1E-1")).section("fig4").kappa == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("key", "value", "line"), [
    ("task.signals", [], "task.signals: got []; tuple should have at least 1 item"),
    ("task.signals", ["x"], 'task.signals.0: got "x"; input should be a valid number'),
    ("task.kind", None, "task.kind: got null; must be one of 'endpoint', "),
    ("sampler.method", 3, "sampler.method: got 3; must be one of 'sgld', "),
    ("kind", [1], "kind: got [1]; must be one of 'run', 'transition'"),
    ("sampler.width", "wide", 'sampler.width: got "wide"; input should be a valid integer'),
    ("sampler.draws", 999, "sampler.draws: got 999, "),
])  # fmt: skip
def test_a_fault_of_a_run_names_the_key_as_it_is_written(
    key: str, value: Any, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: Any = json.loads(runs(laid_over())["fig4/rnn-depth4"].model_dump_json())
    *path, last = key.split(".")
    place = run
    for name in path:
        place = place[name]
    place[last] = value
    (said,) = lines_of_failure(capsys, "resolve", json.dumps(run), tmp_path / "run.yaml")
    assert said.startswith(line)


def test_several_faults_give_a_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(changed("fig4.kappa", -1.0) | {"seed": "x"}))
    lines = lines_of_failure(capsys, "check", bad)
    assert [line.split(":")[0] for line in lines] == ["seed", "fig4.kappa"]


@pytest.mark.parametrize(("text", "says"), [
    ("a: [1", "not YAML"), ("\x00", "not YAML"), ("- 1\n- 2\n", "[1, 2]"), ("", "is empty"),
    (None, "cannot be read"),
])  # fmt: skip
def test_file_that_is_no_mapping_or_missing_is_named(
    text: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.yaml"
    if text is not None:
        broken.write_text(text)
    (line,) = lines_of_failure(capsys, "check", broken)
    assert "broken.yaml: " in line
    assert says in line


@pytest.mark.parametrize(("config", "line"), [
    ("{", "got "), ("{}", "preset: missing"), ("absent.yaml", "absent.yaml: cannot be read"),
    ('{"preset": "a", "seed": 1, "device": "cpu"}', "fig5: missing"),
])  # fmt: skip
def test_bad_configuration_of_a_figure_is_named(
    config: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--config", config, "--results", "x.nc")
    lines = lines_of_failure(capsys, "figure", "fig5", tmp_path / "x.pdf", *options)
    assert lines[0].lstrip(": ").startswith(line)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_configuration_has_the_runs_of_its_figures() -> None:
    config = laid_over()
    chosen = part(config, "fig4")
    assert runs(chosen) == {run.id: run for run in figure_runs(config, "fig4")}
    assert given([chosen.model_dump_json()]).model_dump() == chosen.model_dump()
    assert given([str(ROOT / "config.yaml")]) == config


def test_default_runs_and_ids() -> None:
    by_id = runs(laid_over())
    assert [name for name in by_id if isinstance(by_id[name], Transition)] == [
        "fig4/depth3", "fig4/depth4", "fig4/depth5", "figS1/depth4", "figS1/depth3",
    ]  # fmt: skip
    trained = [run for run in by_id.values() if isinstance(run, Run)]
    assert len(trained) >= 12
    assert {"fig4/rnn-depth4", "fig4/rnn-depth5-exact", "fig4/dnn-depth4-exact"} <= set(by_id)
    assert {"fig3/dnn-weak", "fig3/dnn-strong", "fig3/rnn-weak", "fig3/rnn-strong"} <= set(by_id)
    assert len({run.seed for run in trained}) == len(trained)
    by_weights = [run for run in trained if isinstance(run.sampler, DynamicsSettings)]
    assert all(run.sampler.width <= 512 for run in by_weights)
    # Figures 2 and S1 have widths, figure 4 has networks, that one of the samplers alone has.
    assert {run.id.removesuffix("-exact") for run in trained if run.id[:4] in BOTH_SAMPLERS} == {
        run.id for run in by_weights if run.id[:4] in BOTH_SAMPLERS
    }


def test_networks_around_the_transition_have_the_lambdas_and_laws_of_their_width() -> None:
    """Figure S1: lambda / lambda_c - 1 = x N^(-1/2), which the scan of their T has a law for."""
    settings = copy.deepcopy(DEFAULT)
    # At this width the exact sampler is around lambda_c, and trained networks are at it.
    settings["figS1"]["trained"] = settings["figS1"]["trained"][:1]
    settings["figS1"]["trained"][0]["width"] = settings["figS1"]["around"][0]
    config = validate(settings)
    section: Any = config.section("figS1")
    found = runs(config)
    for depth in section.depths:
        scan = found[f"figS1/depth{depth}"]
        assert isinstance(scan, Transition)
        critical = critical_signal(depth, section.prior, section.kappa)
        laws = set()
        for run in trained(config, "figS1"):
            if run.architecture.steps != depth:
                continue
            assert isinstance(run.task, SignalsTask)
            width, signals = run.sampler.width, np.array(run.task.signals)
            exact = run.sampler.method == "exact"
            around = depth == section.depths[0] and exact and width in section.around
            expected = sorted([0.0, *section.offsets]) if around else [0.0]
            np.testing.assert_allclose((signals / critical - 1.0) * width**0.5, expected, atol=1e-9)
            laws |= {(width, round(float(signal / critical), 9)) for signal in signals}
        assert {(width, round(ratio, 9)) for width, ratio in scan.laws} == laws


def test_networks_of_panel_b_have_a_law_at_their_width() -> None:
    """Figure 4: also where the samplers have different widths, or a lambda all but that of panel b."""
    settings = changed("fig4.exact.width", 300)
    critical = critical_signal(4, Prior(w=1.0, u=1.0, v=1.0), 0.1)
    settings["fig4"]["lambdas"] = [1.0, float(f"{critical:g}"), critical * (1.0 + 5e-6)]
    found = {run.id: run for run in figure_runs(validate(settings), "fig4")}
    scan = found["fig4/depth4"]
    assert isinstance(scan, Transition)
    width = settings["fig4"]["sampler"]["width"]
    ratios = settings["fig4"]["landau_ratios"]
    assert set(scan.laws) == {(n, ratio) for n in (width, 300) for ratio in ratios}
    for name in ("", "-exact"):
        run = found[f"fig4/rnn-depth4{name}"]
        assert isinstance(run, Run)
        assert isinstance(run.task, SignalsTask)
        (at,) = (signal for signal in run.task.signals if f"{signal:g}" == f"{critical:g}")
        assert at == pytest.approx(critical, rel=1e-12)


def test_runs_that_differ_in_their_sampler_only_share_a_theory() -> None:
    shared = theory_runs(runs(laid_over()))
    assert {shared[name] for name in shared if "fig2" in name} == {"fig2/sgld-width16"}
    assert shared["fig3/rnn-strong-exact"] == "fig3/rnn-strong"
    assert shared["fig5/rnn-exact"] == shared["fig5/rnn"] == "fig5/rnn"
    # Figure 1: two networks on two tasks. Figure 4: all lambdas of four networks. Figure S1: lambda_c
    # of two T, and the lambdas around it of four widths.
    assert shared["figS1/depth4-width64-exact"] == shared["figS1/depth4-width128"]
    assert len(set(shared.values())) == 4 + 1 + 4 + 4 + 3 + (2 + 4)


def test_random_and_even_sets_are_the_same_for_both_networks() -> None:
    sets = DEFAULT["fig5"]["sets"]
    for selection, number in (("random", 9 * sets + 1), ("even", 10)):
        families = trained(validate(changed("fig5.selection", selection)), "fig5")
        (apart,) = (run for run in families if run.id == "fig5/rnn-untrained")
        families.remove(apart)
        assert set(apart.member_names) < set(families[0].member_names)
        assert {run.architecture.kind for run in families} == {"rnn", "dnn"}
        assert len({run.member_names for run in families}) == 1
        assert len(families[0].members) == number
        seeds = {member.seed for run in families for member in run.members}
        assert len(seeds) == len(families) * number


def test_changing_one_lambda_changes_the_runs_of_one_network() -> None:
    before = runs(laid_over())
    settings = changed("fig4.lambdas", [0.6, *DEFAULT["fig4"]["lambdas"][1:]])
    after = runs(validate(settings))
    assert set(after) == set(before)
    changed_runs = {name for name in after if after[name] != before[name]}
    assert changed_runs == {"fig4/rnn-depth4", "fig4/rnn-depth4-exact"}


# Keys of presets: sizes, lengths and dynamics of samplers, but not the sampled law.
SIZES = re.compile(
    r"preset|fig1\.(endpoint\.steps|sequence\.(steps|period|supervised))|fig2\.(trained|exact|shown)"
    r"|fig4\.(curve_points|landau_ratios|lambdas|other_ratios)"
    r"|fig5\.(steps|period|sets|shown)|figS1\.(depths|offsets|around|trained|exact)"
    r"|(fig3\.samplers\.\w+|fig4\.sampler|fig5\.(trained\.\w+|untrained)|fig[1345]\.exact)"
    r"\.(width|method|noise|readout|step_size|friction|refresh|burn_in|ramp|duration|draws|chains|spectra"
    r"|warm_up|thinning|leapfrog_steps)"
)


def leaves(settings: dict[str, Any], prefix: str = "") -> set[str]:
    keys: set[str] = set()
    for key, value in settings.items():
        keys |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
    return keys


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_is_valid_named_after_its_file_and_changes_no_law(preset: Path) -> None:
    settings = yaml.safe_load(preset.read_text())
    assert [key for key in leaves(settings) if not SIZES.fullmatch(key)] == []
    assert laid_over(preset.stem).preset == preset.stem


def test_paper_preset_has_the_widths_and_the_sampler_of_the_captions() -> None:
    paper = laid_over("paper")
    sections: Any = {figure: paper.section(figure) for figure in FIGURES}
    assert max(sampler.width for sampler in sections["fig2"].trained) == 2048
    assert {run.sampler.width for name in ("fig3", "fig4") for run in trained(paper, name)} == {
        2048
    }
    for figure in ("fig2", "fig3", "fig4"):
        methods = {run.sampler.method for run in trained(paper, figure)}
        assert methods - {"exact"} == {"sgld"}
    assert sections["fig3"].steps == 8
    assert len(sections["fig3"].signs) == 4
    assert sections["fig4"].sampled_depth == 4


def judged(config: Config, figure: str) -> Results:
    """Results with what captions read, of all runs of a figure: the last did not converge."""
    numbers = (
        "generalisation_error", "generalisation_error_standard_error",
        "generalisation_error_finite_width", "alignment_rhat", "alignment_effective_size",
    )  # fmt: skip
    attributes = {
        "largest_rhat": 1.0, "smallest_effective_size": 500.0,
        "alignment_converged": 1, "coherence_converged": 1,
    }  # fmt: skip
    data = xr.Dataset(dict.fromkeys(numbers, 1.0), attrs=attributes)
    data["nearest_point"] = ("chain", [0, 1])
    data["supervised"] = (("pattern", "output_time"), [[1]])
    data = data.assign_coords(output_time=[1])
    members = [member for run in trained(config, figure) for member in run.members]
    *good, bad = (Result(member, data, True, ()) for member in members)
    return Results((*good, dataclasses.replace(bad, converged=False, faults=("loss",))))


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", FIGURES)
def test_captions_have_the_numbers_of_the_configuration(preset: Path, name: str) -> None:
    """In every preset; the caption lists the claims that do not pass."""
    claims = [
        Claim(
            id="a",
            figure="2",
            panel="a",
            kind="networks",
            claim="first",
            verdict="fail",
            explanation="Why.",
        ),
        Claim(id="b", figure="2", panel="a", kind="networks", claim="unnamed", verdict="pass"),
    ]
    config = laid_over(preset.stem)
    text = caption(FIGURES[name], config.section(name), 7, judged(config, name), claims)
    for run in trained(config, name):
        assert f"{run.sampler.width}" in text
    assert re.search(r"[Rr]oot\s+seed\s+7\b", text)
    assert "- **FAIL**, panel a: first. Why." in text
    assert "unnamed" not in text
    last = trained(config, name)[-1].id.partition("/")[2]
    assert re.search(rf"NOT CONVERGED \(hollow symbols\).*: .*{re.escape(last)}", text)
    pasted = plain(text)
    assert not re.search(r":math:|\*\*|`|(?<!\\)%", pasted)
    assert pasted.count("$") % 2 == 0


def test_reading_a_configuration_loads_neither_torch_nor_matplotlib() -> None:
    heavy = "sorted({'torch', 'matplotlib', 'seaborn'} & set(sys.modules))"
    command = [sys.executable, "-c", f"import sys, weightsharing.config; print({heavy})"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_figures_are_in_the_order_of_their_numbers() -> None:
    assert list(FIGURES) == ["fig1", "fig2", "fig3", "fig4", "fig5", "figS1"]
    assert sorted(["figS1", "fig10", "fig9"], key=in_order) == ["fig9", "fig10", "figS1"]


def test_a_start_from_the_theory_needs_one() -> None:
    settings = changed("fig3.activation", "erf")
    settings["fig3"]["exact"]["start"] = "prior"
    assert not any(run.has_theory for run in trained(validate(settings), "fig3"))
    settings["fig3"]["samplers"]["rnn_strong"]["start"] = "lowest"
    with pytest.raises(ConfigError, match=r"fig3\.samplers\.rnn_strong\.start: .*no theory"):
        validate(settings)


def test_supervised_times_are_output_times() -> None:
    run = trained(validate(DEFAULT), "fig2")[0]
    allowed: tuple[tuple[int, ...] | None, ...] = ((1, 3, 10), (10,), None)

    def with_times(times: tuple[int, ...] | None) -> dict[str, Any]:
        return {"task": {"kind": "sinusoid", "supervised": times}}

    for times in allowed:
        assert Run.model_validate(run.model_dump() | with_times(times)).task.patterns == 1
    for wrong in ((1, 11), (2, 2), (0, 1)):
        with pytest.raises(ValidationError, match=r"supervised"):
            Run.model_validate(run.model_dump() | with_times(wrong))


def test_curvature_is_bounded_beforehand_where_it_is_known() -> None:
    """For a linear network on the endpoint task; other networks fail when they run."""
    settings = changed("fig3.samplers.dnn_strong.step_size", 0.03)
    validate(settings)
    settings["fig3"]["samplers"]["dnn_strong"]["readout"] = "sampled"
    settings["fig3"]["activation"] = "erf"
    settings["fig3"]["exact"]["start"] = "prior"
    validate(settings)
    settings["fig3"]["activation"] = "linear"
    with pytest.raises(ConfigError, match="stability limit"):
        validate(settings)


def test_overlay_merges_mappings_and_replaces_the_rest() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert overlay(base, {"a": {"c": [5]}, "d": {"e": 1}}) == {
        "a": {"b": 1, "c": [5]},
        "d": {"e": 1},
    }
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_schema_file_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails: python -m weightsharing schema > workflow/schemas/config.schema.json."""
    succeed("schema")
    stored = (ROOT / "workflow" / "schemas" / "config.schema.json").read_text()
    assert json.loads(capsys.readouterr().out) == json.loads(stored)
