"""The whole workflow on the smoke preset, in a copy of the repository, as a user runs it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
import yaml
from browser import chromium, framed, needs_chromium, scripted, titled
from conftest import ROOT, lines_of_failure
from crowding import crowded, texts
from eyes import LEAST_DISTANCE, distance, shown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.cli import main
from weightsharing.config import load, overlay, part, runs
from weightsharing.figures import registry
from weightsharing.figures.results import read_results
from weightsharing.figures.style import NOT_CONVERGED, PAGE_WIDTH, SMALL, settled
from weightsharing.model.dictionary import entry

FIGURES = tuple(registry.FIGURES)
# Rules that read measures: figures, the tables of claims and runs, and captions, which name claims.
PRODUCTS = {*FIGURES, "scorecard", "caption", "runs"}
COPIED = ["Snakefile", "config.yaml", "environment.yml", "profiles", "src", "workflow"]


def run_snakemake(folder: Path, *words: str) -> tuple[int, str]:
    """Run Snakemake in ``folder``: its exit status and what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def snakemake(folder: Path, *words: str) -> str:
    """Run Snakemake, which has to succeed, and return what it printed."""
    code, output = run_snakemake(folder, *words)
    assert code == 0, output
    return output


def planned(folder: Path, *words: str) -> Counter[str]:
    """How often each rule would run for all figures, by a dry run."""
    output = snakemake(folder, "-n", *words)
    if "Nothing to be done" in output:
        return Counter()
    table = output.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    counts = {line.split()[0]: int(line.split()[1]) for line in table}
    return Counter({rule: count for rule, count in counts.items() if rule not in ("total", "all")})


def edit(path: Path, addition: str) -> None:
    path.write_text(path.read_text() + addition)


def configure(folder: Path, key: str, value: object) -> None:
    """Another value of one key of ``config.yaml``."""
    path = folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    inner = settings
    *outer, last = key.split(".")
    for name in outer:
        inner = inner[name]
    inner[last] = value
    path.write_text(yaml.safe_dump(settings))


@contextlib.contextmanager
def configured(folder: Path, key: str, value: object) -> Iterator[None]:
    """Another value of one key of ``config.yaml``, for a while."""
    path = folder / "config.yaml"
    before = path.read_text()
    configure(folder, key, value)
    try:
        yield
    finally:
        path.write_text(before)


def smoke_repository(folder: Path) -> Path:
    """A copy of the repository in which the smoke preset is the configuration."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name)  # with the caches of Python and Numba
        else:
            shutil.copy(source, folder / name)
    settings = [
        yaml.safe_load((ROOT / name).read_text())
        for name in ("config.yaml", "workflow/presets/smoke.yaml")
    ]
    (folder / "config.yaml").write_text(yaml.safe_dump(overlay(*settings)))
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That copy after a bare `snakemake`."""
    folder = smoke_repository(tmp_path_factory.mktemp("repository"))
    snakemake(folder)
    return folder


def test_bare_snakemake_makes_the_figures_and_then_has_nothing_to_do(built: Path) -> None:
    for name in FIGURES:
        assert (built / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert "Nothing to be done" in snakemake(built)


# --- what is drawn -----------------------------------------------------------------------------------

HIGHEST = 6.0


@pytest.fixture(scope="module")
def drawn(built: Path) -> dict[str, Figure]:
    """The figures with their final layout, from the results of the smoke preset."""
    config = load([built / "config.yaml"])
    figures = {}
    for name, figure in registry.FIGURES.items():
        expected = runs(part(config, name))
        files = [path for path in (built / "results/smoke" / name).glob("*/*.nc")
                 if path.stem in ("measures", "transition")]  # fmt: skip
        results = read_results(files, expected, complete=True)
        plot = figure.module("plot")
        figures[name] = settled(plot.draw(results, config.section(name), config.preset))
    return figures


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_text_or_is_cut_or_too_small(drawn: dict[str, Figure], name: str) -> None:
    figure = drawn[name]
    assert crowded(figure) == []
    assert min(float(text.get_fontsize()) for text in texts(figure)) >= SMALL
    width, height = figure.get_size_inches()
    assert width == PAGE_WIDTH
    assert height <= HIGHEST


@pytest.mark.parametrize("name", FIGURES)
def test_footer_has_width_preset_and_in_red_what_did_not_converge(
    drawn: dict[str, Figure], name: str
) -> None:
    """The chains of the smoke preset are too short."""
    first, *rest = drawn[name].texts
    assert "$N = " in first.get_text()
    assert first.get_text().endswith("preset smoke")
    assert rest
    assert rest[0].get_text().startswith("not converged: ")
    assert {text.get_color() for text in rest} == {NOT_CONVERGED}


@pytest.mark.parametrize("name", FIGURES)
def test_ticks_and_layout_do_not_depend_on_the_resolution(
    drawn: dict[str, Figure], name: str
) -> None:
    described = []
    for resolution in (72, 200):
        drawn[name].set_dpi(resolution)
        drawn[name].draw_without_rendering()
        described.append([_described(axes) for axes in axes_of(drawn[name])])
    drawn[name].set_dpi(100)
    assert described[0] == described[1]


def axes_of(figure: Figure) -> list[Axes]:
    """All axes of a figure, insets too."""
    return [axes for axes in figure.findobj(Axes) if isinstance(axes, Axes)]


def _described(axes: Axes) -> tuple[Any, ...]:
    """Place, limits and labelled ticks of axes."""
    ticks = [
        (axis.get_ticklocs().tolist(), [label.get_text() for label in axis.get_ticklabels()])
        for axis in (axes.xaxis, axes.yaxis)
    ]
    place = tuple(np.round(axes.get_position().bounds, 9))
    return (*place, axes.get_xlim(), axes.get_ylim(), *ticks)


def test_kernels_and_small_spectra_are_vectors_and_fonts_embedded(
    drawn: dict[str, Figure], built: Path
) -> None:
    """Spectra of more than 512 points are rasterised: the file stays small."""
    for name, figure in drawn.items():
        for axes in axes_of(figure):
            assert not axes.images
            for line in axes.lines:
                assert bool(line.get_rasterized()) == (np.size(line.get_xdata()) > 512)
        content = (built / f"figures/{name}.pdf").read_bytes()
        assert b"/Type3" not in content
        assert content.count(b"/FontFile2") >= 2


@pytest.mark.parametrize("name", FIGURES)
def test_colours_that_share_axes_differ_to_all_eyes(drawn: dict[str, Figure], name: str) -> None:
    pairs = {pair for axes in axes_of(drawn[name]) for pair in combinations(sorted(shown(axes)), 2)}
    assert pairs
    near = {pair: round(distance(*pair), 1) for pair in pairs if distance(*pair) < LEAST_DISTANCE}
    assert near == {}


def test_packages_that_pythonpath_supplies_are_found(copy: Path, tmp_path_factory: Any) -> None:
    """As environment modules of clusters supply them: behind the package itself."""
    supplied = tmp_path_factory.mktemp("supplied")
    (supplied / "sitecustomize.py").write_text(
        f"open({str(supplied / 'seen')!r}, 'a').write('seen')\n"
    )
    (supplied / "weightsharing").mkdir()
    (supplied / "weightsharing" / "__init__.py").write_text("raise SystemExit('another one')\n")
    target = copy / "results/smoke/fig4/depth3/run.yaml"
    target.unlink()
    environment = os.environ | {"PYTHONPATH": str(supplied)}
    subprocess.run(
        [sys.executable, "-m", "snakemake", str(target.relative_to(copy))],
        cwd=copy, env=environment, capture_output=True, check=True,
    )  # fmt: skip
    assert target.exists()
    assert (supplied / "seen").read_text().startswith("seen")


def test_jobs_run_where_no_user_folder_can_be_written(copy: Path) -> None:
    """A number on the command line, a drawing and Snakemake's scheduler; the log was empty before."""
    names = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR")
    environment = (
        os.environ | dict.fromkeys(names, "/dev/null") | {"MPLBACKEND": "module://nowhere"}
    )
    assert (copy / "logs/smoke/fig4.log").read_text() == ""
    (copy / "figures/fig4.pdf").unlink()
    target = copy / "results/smoke/fig4/depth3/run.yaml"
    words = [str(target.relative_to(copy)), "figures/fig4.pdf", "--config", "fig4={kappa: 1e-1}"]
    target.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *words, "--rerun-triggers", "mtime"],
        cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(target.read_text())["kappa"] == 0.1
    assert (copy / "figures/fig4.pdf").exists()
    assert "rule sample" not in done.stderr


def test_a_number_on_the_command_line_plans_its_runs(built: Path) -> None:
    """In braces, as docs/extending.md says."""
    words = ("figures/fig4.pdf", "--config", "fig4={kappa: 2e-1, lambdas: [1.5, 5.0]}")
    wanted = OTHER_KAPPA - Counter(scorecard=1, caption=1, runs=1)
    assert planned(built, *words) == wanted


def test_a_report_of_what_is_finished_needs_no_scorecard(copy: Path) -> None:
    (copy / "results/smoke/scorecard.tsv").unlink()
    snakemake(copy, "figures/fig4.pdf", "--report", "fig4.html")
    assert "not judged" in (copy / "fig4.html").read_text()


def test_every_variable_of_every_file_is_in_the_dictionary(built: Path) -> None:
    """Besides attributes, which families keep as variables."""
    found = 0
    for path in (built / "results").rglob("*.nc"):
        with xr.open_dataset(path) as dataset:
            for name, values in dataset.variables.items():
                if "set" in dataset.sizes and values.dims == ("set",) and entry(str(name)) is None:
                    continue
                assert values.attrs["long_name"], (path, name)
                assert values.attrs["units"]
                assert "docs/theory.md, section" in values.attrs["reference"]
                found += 1
    assert found > 1000


def test_results_name_their_run_and_verdict(built: Path) -> None:
    with xr.open_dataset(built / "results/smoke/fig3/rnn-weak/measures.nc") as measures:
        assert measures.attrs["converged"] == 0
        assert '"id":"fig3/rnn-weak"' in measures.attrs["run"]
    assert not list((built / "results").rglob("*.safetensors"))
    assert not list((built / "results").rglob("*.part*"))
    log = (built / "logs/smoke/fig3/rnn-weak/sample.log").read_text()
    assert "step 240 of 240" in log


def test_a_family_is_one_file_with_an_axis_for_its_sets(built: Path) -> None:
    with xr.open_dataset(built / "results/smoke/fig5/rnn/measures.nc") as measures:
        assert measures.sizes["set"] == 3 * 2 + 1
        assert measures["set"].to_numpy()[-1] == "1-2-3-4"
        assert measures["generalisation_error"].dims == ("set",)
        assert not measures["converged"].any()


def test_changing_one_lambda_reruns_that_run_and_the_figure_only(built: Path) -> None:
    with configured(built, "fig4.lambdas", [1.5, 5.5]):
        jobs = planned(built)
    assert jobs == Counter(
        resolve=2, theory=1, sample=2, measure=2, fig4=1, scorecard=1, caption=1, runs=1
    )


def test_erf_networks_are_measured_without_a_theory(built: Path) -> None:
    settings = "fig3={activation: erf, exact: {start: prior}}"
    jobs = planned(built, "figures/fig3.pdf", "--config", settings)
    assert jobs == Counter(resolve=8, sample=8, measure=8, fig3=1)


def test_changing_a_sampler_setting_reruns_sampling_but_not_the_scans(built: Path) -> None:
    with configured(built, "fig4.sampler.step_size", 0.01):
        jobs = planned(built)
    # All lambdas are one run.
    assert jobs["sample"] == 1
    assert jobs["transition"] == 0


# Chains that start from the theory depend on it.
THEORY = {"theory", "sample", "measure", *PRODUCTS}


@pytest.mark.parametrize(("files", "addition", "rules"), [
    ("figures/fig2/plot.py figures/fig5/plot.py", "CHANGED = 1", {"fig2", "fig5"}),
    ("figures/fig3/plot.py", "CHANGED = 1", {"fig3"}),
    *[(f"figures/fig{n}/claims.py", "CHANGED = 1", {"scorecard", "caption"}) for n in (2, 5)],
    ("figures/fig4/caption.rst", "More.", {"caption"}),
    ("figures/panels.py", "CHANGED = 1", set(FIGURES)),
    ("figures/statistics.py", "CHANGED = 1", {*FIGURES, "scorecard", "caption"} - {"fig1", "fig3"}),
    ("figures/figS1/scaling.py", "CHANGED = 1", {"figS1", "scorecard", "caption"}),
    ("figures/style.py", "CHANGED = 1", set(FIGURES)),
    ("theory/transition.py", "CHANGED = 1", {"transition", *THEORY}),
    ("theory/curves.py", "CHANGED = 1", {"transition", "fig4", "figS1", "scorecard", "caption"}),
    ("theory/search.py", "CHANGED = 1", THEORY),
    ("theory/outliers.py", "CHANGED = 1", THEORY),
    ("measures/compare.py", "CHANGED = 1", {"measure", *PRODUCTS}),
    # Only figure 2 has chains of SGLD.
    ("sampling/sgld/sampler.py", "CHANGED = 1",
     {"sample", "measure", "fig2", "scorecard", "caption", "runs"}),
    ("sampling/exact/marginal.py", "CHANGED = 1", {"sample", "measure", *PRODUCTS}),
    # The products compare results with the configuration.
    ("config.py", "CHANGED = 1", PRODUCTS),
    ("cli.py", "CHANGED = 1", set()),
    ("model/axes.py", "# A comment.", set()),
])  # fmt: skip
def test_changing_a_file_reruns_the_rules_that_use_it(
    built: Path, files: str, addition: str, rules: set[str]
) -> None:
    """The rules after them run as well. Nothing may be left of the previous change."""
    paths = [built / "src" / "weightsharing" / file for file in files.split()]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        edit(path, f"\n{addition}\n")
    try:
        assert set(planned(built)) == rules
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built repository, to be spoilt."""
    for path in built.iterdir():
        if path.is_dir():
            shutil.copytree(path, tmp_path / path.name)
        else:
            shutil.copy2(path, tmp_path / path.name)
    return tmp_path


# Jobs if kappa of figure 4 changes: two samplers at two lambdas and at those of two curves of panel b.
OTHER_KAPPA = Counter(
    resolve=5, resolve_scan=3, theory=4, transition=3, sample=5, measure=5, fig4=1, scorecard=1,
    caption=1, runs=1,
)  # fmt: skip


@pytest.mark.parametrize("mixture", ["notes lost", "triggers", "touched", "other preset"])
def test_results_of_other_parameters_are_never_up_to_date(copy: Path, mixture: str) -> None:
    """Whatever Snakemake's own notes of parameters say: the files know."""
    shutil.move(copy / ".snakemake", copy / "notes")
    configure(copy, "fig4.kappa", 0.2)
    if mixture == "notes lost":
        assert planned(copy) == OTHER_KAPPA
        # It cannot be drawn over: no other job than those of figure 4 runs for figure 4.
        assert planned(copy, "figures/fig2.pdf") == Counter()
        return
    shutil.move(copy / "notes", copy / ".snakemake")
    if mixture == "triggers":
        assert planned(copy, "--rerun-triggers", "mtime") == OTHER_KAPPA
    elif mixture == "touched":
        snakemake(copy, "--touch", "--cores", "1")
        assert planned(copy) == OTHER_KAPPA
        code, output = run_snakemake(copy, "--report", "report.html")
        assert code != 0
        assert "fig4.pdf: of other parameters or code than the configuration's" in output
    else:
        shutil.copytree(copy / "results/smoke", copy / "results/mine")
        jobs = planned(copy, "--config", "preset=mine")
        assert jobs == OTHER_KAPPA + Counter(fig1=1, fig2=1, fig3=1, fig5=1, figS1=1, caption=5)


def test_tables_of_other_runs_are_never_up_to_date(copy: Path) -> None:
    """One width less needs no new run, but the tables list the old ones."""
    shutil.rmtree(copy / ".snakemake")
    exact = yaml.safe_load((copy / "config.yaml").read_text())["fig2"]["exact"]
    configure(copy, "fig2.exact", exact[:1])
    configure(copy, "fig2.shown", [16, 32])
    # An earlier test has touched the template of figure 4's caption, which only the notes can know.
    assert planned(copy) == Counter(fig2=1, caption=2, scorecard=1, runs=1)


def test_samples_of_another_run_are_refused_and_drawn_anew(copy: Path) -> None:
    """As if networks had been trained: the samples of the exact sampler in place of theirs."""
    folder = copy / "results/smoke/fig4"
    target = folder / "rnn-depth4"
    shutil.copy(folder / "rnn-depth4-exact/samples.nc", target / "samples.nc")
    words = [
        "run.yaml",
        "task.nc",
        "samples.nc",
        "other.nc",
        "--theory",
        "../rnn-depth4/theory.nc",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "weightsharing", "measure", *words], cwd=target, check=False,
        env=os.environ | {"PYTHONPATH": str(copy / "src")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("samples.nc: samples of another run, with id = ")
    assert planned(copy, "results/smoke/fig4/rnn-depth4/measures.nc") == Counter(
        sample=1, measure=1
    )


def test_each_run_has_or_names_its_theory(built: Path) -> None:
    for path in (built / "results").rglob("measures.nc"):
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            solved_for = opened.attrs["theory"]
            assert (solved_for != "") == ("kernel_theory" in opened)
        if solved_for:
            assert (built / "results/smoke" / solved_for / "theory.nc").exists()


def test_a_change_of_the_theory_reruns_chains_that_start_from_it_only(built: Path) -> None:
    path = built / "src/weightsharing/theory/search.py"
    before = path.read_bytes()
    starts = [yaml.safe_load(run.read_text()) for run in built.glob("results/**/run.yaml")]
    from_theory = [run["id"] for run in starts if run.get("sampler", {}).get("start") == "lowest"]
    edit(path, "\nCHANGED = 1\n")
    try:
        assert planned(built)["sample"] == len(from_theory) == 4 + 7
    finally:
        path.write_bytes(before)


def test_a_failing_command_fails_its_job(built: Path) -> None:
    """It fails by its own error, not by a missing output, although `sample` writes into a pipe."""
    preset = {"preset": "other", "fig4": {"sampler": {"readout": "sampled", "step_size": 0.1}}}
    (built / "other.yaml").write_text(yaml.safe_dump(preset))
    target = "results/other/fig4/rnn-depth4/samples.nc"
    code, output = run_snakemake(built, "--cores", "1", target, "--configfile", "other.yaml")
    assert code != 0
    assert "step_size: 0.1 is too large" in output
    assert "MissingOutputException" not in output
    assert planned(built) == Counter()


def test_changed_plotting_code_redraws_without_sampling(built: Path) -> None:
    path = built / "src" / "weightsharing" / "figures" / "style.py"
    samples = built / "results/smoke/fig4/rnn-depth4/samples.nc"
    drawn, sampled = (built / "figures/fig4.pdf").stat(), samples.stat()
    before = path.read_text()
    path.write_text(before.replace("PAGE_WIDTH = 6.75", "PAGE_WIDTH = 7.0"))
    output = snakemake(built, "figures/fig4.pdf")
    assert "rule fig4" in output
    assert "rule sample" not in output
    assert samples.stat().st_mtime_ns == sampled.st_mtime_ns
    assert (built / "figures/fig4.pdf").stat().st_mtime_ns > drawn.st_mtime_ns
    path.write_text(before)
    snakemake(built, "figures/fig4.pdf")


def test_every_command_works_pasted_into_a_terminal(built: Path, tmp_path: Path) -> None:
    """The verbs one after the other, without Snakemake, give the same samples."""
    run = built / "results/smoke/fig3/rnn-weak"
    parameters = json.dumps(yaml.safe_load((run / "run.yaml").read_text()))
    steps = [
        ["resolve", parameters, "run.yaml", "--task", "task.nc"],
        ["theory", "run.yaml", "task.nc", "theory.nc"],
        ["sample", "run.yaml", "task.nc", "samples.nc"],
        ["measure", "run.yaml", "task.nc", "samples.nc", "measures.nc", "--theory", "theory.nc"],
    ]
    for words in steps:
        subprocess.run(
            [sys.executable, "-m", "weightsharing", *words], cwd=tmp_path, check=True,
            env=os.environ | {"PYTHONPATH": str(built / "src")}, capture_output=True,
        )  # fmt: skip
    for name in ("task", "theory", "samples", "measures"):
        with (
            xr.open_dataset(tmp_path / f"{name}.nc") as by_hand,
            xr.open_dataset(run / f"{name}.nc") as piped,
        ):
            xr.testing.assert_equal(by_hand, piped)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, dialect="excel-tab"))


def test_scorecard_passes_nothing_that_did_not_converge(built: Path) -> None:
    """In the smoke preset no chain converges: only claims about theory and tasks can pass."""
    rows = table(built / "results/smoke/scorecard.tsv")
    assert len(rows) > 80
    assert {row["figure"] for row in rows} == {"1", "2", "3", "4", "5", "S1"}
    for row in rows:
        measured = re.search(
            "trained|exact|samplers|1b-(kernels|coherent)|1c-|5c-|5d-|S1", row["id"]
        )
        # These rows ask whether chains reach the right law, however short they are, or count phases of
        # the theory.
        despite = row["id"] == "5d-start" or re.search("equilibrium|phases", row["id"])
        if measured and not despite:
            assert row["verdict"] in ("not converged", "no data"), row["id"]
        assert row["verdict"] == "pass" or row["explanation"], row["id"]
        # Captions repeat these sentences, in which reStructuredText is to find no markup.
        assert not re.search(r"[*`|]|\w_(?!\w)", row["claim"] + row["explanation"]), row
    assert {row["id"] for row in rows if row["verdict"] == "pass"} >= {
        "3a-inputs", "4a-critical-4", "4a-order-4", "4a-exponent-4", "4b-above", "5a-teacher"
    }  # fmt: skip


def test_table_of_runs_has_every_run_with_its_origin(built: Path) -> None:
    rows = table(built / "results/smoke/runs.tsv")
    # Figure 5 has seven sets for each network and sampler, and three that start untrained. Figure S1 has
    # three lambdas at each of two widths, and one more network at lambda_c.
    assert Counter(row["id"].split("/")[0] for row in rows) == Counter(
        fig1=2 * 2 + 2, fig2=4, fig3=8, fig4=2 * 4 + 3, fig5=4 * 7 + 3, figS1=2 * 3 + 1
    )
    row = next(row for row in rows if row["id"] == "fig4/rnn-depth4 5")
    assert (row["width"], row["sampler"], row["chains"]) == ("24", "kinetic", "2")
    assert row["converged"].startswith("no: ")
    assert 0 < float(row["wall_seconds"]) < 600


def test_costs_are_those_of_all_jobs_but_the_shortest(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["costs", str(built / "benchmarks/smoke")]) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert "largest job" in head
    rows = {
        figure: numbers for figure, *numbers in (line.strip("| ").split(" | ") for line in lines)
    }
    # Two jobs for each run, its theory or that of the runs like it, the scans, and the drawing.
    theories = Counter(path.parts[-3] for path in (built / "results").rglob("theory.nc"))
    runs = {"1": 4, "2": 4, "3": 8, "4": 5, "5": 5, "S1": 3}
    jobs = {figure: 2 * count + theories[f"fig{figure}"] + 1 for figure, count in runs.items()}
    jobs["4"] += 3
    jobs["S1"] += 1
    assert {figure: int(row[0]) for figure, row in rows.items()} == {
        **jobs,
        "all": sum(jobs.values()),
    }
    for count, seconds, processor, memory in rows.values():
        assert int(seconds) > int(count)  # Python alone takes longer to start
        assert int(processor) > 0
        assert 50 < int(memory.removesuffix(" MiB")) < 2000


def test_costs_are_sums_and_the_largest_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "s\th:m:s\tmax_rss\tcpu_time\n"
    written = {
        "fig4/a/sample.tsv": "10.4\t0:00:10\t300.0\t9.0\n",
        "fig4/a/theory.tsv": "0.2\t0:00:00\tNA\tNA\n",
        "fig4.tsv": "3.0\t0:00:03\t100.0\t2.0\n",
        "fig5.tsv": "5.0\t0:00:05\tNA\tNA\n",
    }
    (line,) = lines_of_failure(capsys, "costs", tmp_path)
    assert "no benchmarks there" in line
    for name, line in written.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(head + line)
    assert main(["costs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| 4 | 3 | 14 | 11 | 300 MiB |",
        "| 5 | 1 | 5 | not measured | not measured |",
        "| all | 4 | 19 | 11 | 300 MiB |",
    ]
    (tmp_path / "fig5.tsv").write_text("nothing\n")
    (line,) = lines_of_failure(capsys, "costs", tmp_path)
    assert line.startswith(f"{tmp_path / 'fig5.tsv'}: damaged")


def test_archive_holds_figures_tables_and_measures(built: Path) -> None:
    snakemake(built, "archive")
    names = zipfile.ZipFile(built / "review/smoke.zip").namelist()
    assert {
        f"figures/{name}.{kind}" for name in FIGURES for kind in ("pdf", "png", "rst", "txt")
    } <= set(names)
    counts = Counter(Path(name).name for name in names)
    assert counts["measures.nc"] == 4 + 4 + 8 + 5 + 5 + 3
    assert counts["transition.nc"] == 3 + 1
    assert counts["scorecard.tsv"] == counts["runs.html"] == 1


@pytest.fixture(scope="module")
def report(built: Path) -> Path:
    """The report of the smoke preset."""
    snakemake(built, "--report", "report.html")
    return built / "report.html"


def test_report_holds_the_figures_their_captions_and_what_does_not_hold(report: Path) -> None:
    text = report.read_text()
    for words in (
        *(f"figures/{name}.png" for name in FIGURES), "Phase transition in linear RNNs",
        "only RNNs learn temporal coherence", "shared weights interpolate", "converge to the theory",
        "Networks of finite width", "N = 24", "N = 32", "scorecard.html", "runs.html",
        "NOT CONVERGED</strong>, panel e: RNN, strong signal: temporal coherence",
        "NO DATA</strong>, panel a: 1 - CKA falls as 1/N",
    ):  # fmt: skip
        assert words in text, words


# A reader's clicks: show a result, then its caption beside it.
CLICKS = """
const key = Object.keys(results).find(key => results[key].name === "NAME");
setTimeout(() => new ToggleViewManager(app).handleSelectedResult(key), 300);
setTimeout(() => app.showResultInfo(key), 800);
"""


def browse(report: Path, name: str, folder: Path, *options: str) -> str:
    """Open the report from its file, offline, click on a result, and return what Chromium prints."""
    page = scripted(report.read_text(), CLICKS.replace("NAME", name), folder / f"{name}.html")
    return chromium(page, folder, "--window-size=1600,1000", *options)


@needs_chromium
def test_report_is_seen_in_a_browser(report: Path, tmp_path: Path) -> None:
    """A figure, its caption with what did not converge, and the coloured verdicts of the scorecard."""
    shown = browse(report, "fig4.png", tmp_path, "--dump-dom")
    # The part that React has drawn, without the scripts that hold all results.
    visible = shown[shown.index('<div id="app">') :].split("<script")[0]
    assert '<img src="data:image/png;' in visible
    assert "<strong>Phase transition in linear RNNs.</strong>" in visible
    assert "<strong>NOT CONVERGED</strong>, panel a: Order parameters follow the theory" in visible
    for name, colour in (("fig4.png", "#0173b2"), ("scorecard.html", "#f1f1f1")):
        picture = tmp_path / f"{name}.png"
        browse(report, name, tmp_path, f"--screenshot={picture}")
        wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        pixels = np.rint(255.0 * plt.imread(picture)[..., :3])
        assert (np.abs(pixels - wanted).max(axis=-1) <= 2).sum() > 300, name


PROGRAM = re.compile(r"^    ((?:make|snakemake|python -m) .*?)(?:  +#.*)?$", re.M)


def commands_of_the_pages() -> list[str]:
    """What README and docs print as commands to type, without what extending.md runs by itself."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return sorted({line for page in pages for line in PROGRAM.findall(page.read_text())})


@pytest.mark.parametrize("line", commands_of_the_pages())
def test_a_printed_command_is_understood(built: Path, line: str, tmp_path: Path) -> None:
    """As printed, of the smoke preset; Snakemake and make only plan."""
    words = re.sub(r"(results|benchmarks)/(laptop|paper)", rf"{built}/\1/smoke", line)
    # That preset is the configuration of this folder.
    words = words.replace("config.yaml workflow/presets/paper.yaml", "config.yaml")
    folder = built
    if words.startswith("snakemake"):
        if "profiles/slurm" in words:  # another machine: tests/slurm
            return
        (built / "mine.yaml").write_text("preset: mine\nfig4:\n  lambdas: [5.0]\n")
        words = f"{sys.executable} -m {words} -n"
        if "--config " in words:
            words = words.replace(" -n", "").replace("snakemake ", "snakemake -n ")
    elif words.startswith("make"):
        words, folder = words.replace("make", "make -n", 1), ROOT
    else:
        words = words.replace("python", sys.executable, 1).replace(
            " theory.nc", f" {tmp_path}/theory.nc"
        )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", words],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


# --- the review --------------------------------------------------------------------------------------

# What a reader could see: how far the page scrolls sideways, and pictures that cannot be seen as a
# whole in their frames, which scroll by themselves.
SEEN = """
addEventListener("load", () => setTimeout(() => {
  const outside = box => box.left < 0 || box.right > innerWidth || box.top + scrollY < 0;
  const images = [...document.images].filter(image => !image.complete || !image.naturalWidth
      || outside(image.parentElement.getBoundingClientRect())
      || image.parentElement.scrollWidth < image.width - 1);
  parent.postMessage(JSON.stringify({
    width: innerWidth, sideways: document.documentElement.scrollWidth, images: document.images.length,
    spoilt: images.length, unnamed: [...document.images].filter(image => !image.alt).length,
  }), "*");
}, 100));
"""


@pytest.fixture(scope="module")
def review(built: Path) -> Path:
    """The review of the smoke preset."""
    snakemake(built, "review/smoke.html")
    return built / "review/smoke.html"


def test_review_holds_figures_claims_runs_and_origin_without_a_network(review: Path) -> None:
    text = review.read_text()
    assert len(re.findall('src="data:image/png;base64,', text)) == len(FIGURES)
    assert not re.search(r"""(src|href)=["'](https?:)?//""", text)
    assert "<script" not in text
    assert "<math" in text
    for words in ("What the paper claims", "What we add", "What we could not know", "autocorrelation",
                  "preset smoke", "not converged", "torch ", "fig4/rnn-depth4"):  # fmt: skip
        assert words in text, words
    rows = table(review.parent.parent / "results/smoke/scorecard.tsv")
    passed = sum(row["verdict"] == "pass" for row in rows)
    assert f"{passed} of {len(rows)} pass" in text
    assert {row["origin"] for row in rows} == {"caption", "ours"}
    assert all(row["id"] in text for row in rows)


@needs_chromium
@pytest.mark.parametrize("width", [1920, 1366, 420])
def test_review_is_whole_at_all_widths(review: Path, tmp_path: Path, width: int) -> None:
    """Nothing is wider than the window."""
    page = scripted(review.read_text(), SEEN, tmp_path / "page.html")
    seen = titled(framed(page, width), tmp_path)
    assert seen["width"] == width
    assert seen["sideways"] <= width
    assert seen["images"] == len(FIGURES)
    assert seen["spoilt"] == seen["unnamed"] == 0
