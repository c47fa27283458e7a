"""docs/extending.md: its commands run as printed, and its figure is made from its blocks alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import xarray as xr
import yaml
from conftest import ROOT, assert_z
from test_workflow import FIGURES, configure, edit, planned, smoke_repository, snakemake, table

from weightsharing.files import read_record, read_tasks
from weightsharing.sampling.run import Run

PAGE = (ROOT / "docs/extending.md").read_text()


def section(name: str) -> str:
    """The text under a heading."""
    (text,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


def run(name: str, folder: Path) -> str:
    """Run the commands of a section in a copy of the repository; returns what they print."""
    repository = smoke_repository(folder)
    (repository / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    script = "".join(re.findall(r"^```bash\n(.*?)^```", section(name), re.M | re.S))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=repository, capture_output=True, text=True,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    run("A task", tmp_path)
    (task,) = read_tasks(tmp_path / "mine/task.nc", read_record(tmp_path / "mine/run.yaml", Run))
    assert task.inputs.shape == (2, 4, 3)
    assert task.supervised.sum() == 4
    with xr.open_dataset(tmp_path / "mine/theory.nc") as theory:
        assert theory.attrs["converged"] == 1


def test_a_study(tmp_path: Path) -> None:
    run("A study", tmp_path)
    with xr.open_dataset(tmp_path / "results/mine/studies/width6.nc") as study:
        assert study.order_parameter.dims == ("network", "sampler", "sampled_signal")
        assert (study.converged == 1).all()
        critical = float(study.critical_signal[0])
        theory = study.order_parameter_theory[0]
        assert (theory[study.signal < 0.9 * critical] < 1e-6).all()
        assert (theory[study.signal > 1.1 * critical] > 0.1).all()
    rows = (tmp_path / "results/mine/studies/width6.csv").read_text().splitlines()
    assert len(rows) == 1 + 12 + 1
    assert (tmp_path / "figures/studies/width6.pdf").read_bytes().startswith(b"%PDF")
    words = ("studies/width6", "--configfile", "mine.yaml")
    assert planned(tmp_path, *words) == Counter()
    # The figures do not depend on studies.
    assert "results/mine/studies" not in snakemake(tmp_path, "-n", "figures/fig4.pdf", *words[1:])


def test_a_notebook(tmp_path: Path) -> None:
    converged, measured, theory = run("A notebook", tmp_path).split()
    assert converged == "1"
    assert float(measured) == pytest.approx(float(theory), rel=0.2)
    assert {"kernels.png", "outputs.png"} <= {path.name for path in tmp_path.iterdir()}


def test_a_run_by_hand(tmp_path: Path) -> None:
    converged, measured, theory = run("A run by hand", tmp_path).split()[-3:]
    assert converged == "1"
    with xr.open_dataset(tmp_path / "mine/measures.nc") as measures:
        assert f"{measures.attrs['signal']:.9g}" == "9"
        assert measures.attrs["width"] == 64
        assert float(measured) == float(measures["order_parameter"])
        assert float(theory) == float(measures["order_parameter_theory"])
        # All on one branch, so that |m| is m; far from the transition, so that its 1/N term holds.
        expected = measures["kernel_finite_width"][0, 0, -1, -2]
        error = measures["order_parameter_standard_error"]
        assert_z(measures["order_parameter"].to_numpy(), expected.to_numpy(), error.to_numpy())


@pytest.fixture(scope="module")
def with_figure_6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with figure 6. The other figures are removed, so that little is computed."""
    repository = smoke_repository(tmp_path_factory.mktemp("extended"))
    page = section("A figure")
    folder = repository / "src/weightsharing/figures/fig6"
    folder.mkdir()
    for name, text in re.findall(r"^\*\*(\S+)\*\*:.*?^```\w+\n(.*?)^```", page, re.M | re.S):
        (folder / name).write_text(text)
    assert len(list(folder.iterdir())) == 4
    configuration = repository / "config.yaml"
    settings = yaml.safe_load(configuration.read_text())
    for name in FIGURES:
        shutil.rmtree(folder.parent / name)
        del settings[name]
    (values,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    configuration.write_text(yaml.safe_dump(settings) + values)
    (narrow, *_) = yaml.safe_load(values)["fig6"]["samplers"]
    configure(repository, "fig6.samplers", [narrow])  # one width is enough
    snakemake(repository, "all", "archive")
    return repository


def test_a_figure_of_ones_own_is_made_judged_and_packed(with_figure_6: Path) -> None:
    figures = with_figure_6 / "figures"
    assert (figures / "fig6.pdf").read_bytes().startswith(b"%PDF")
    *equilibrium, row = table(with_figure_6 / "results/smoke/scorecard.tsv")
    assert [one["id"] for one in equilibrium] == ["6-equilibrium-exact"]
    assert (row["id"], row["figure"], row["panel"]) == ("6a-order", "6", "a")
    caption = (figures / "fig6.rst").read_text()
    assert "T = 4, lambda = 5.0" in caption
    assert ("The widest network has the order parameter" in caption) == (row["verdict"] != "pass")
    names = zipfile.ZipFile(with_figure_6 / "review/smoke.zip").namelist()
    assert {"figures/fig6.png", "results/smoke/fig6/width32/measures.nc"} <= set(names)


def test_a_figure_of_ones_own_is_drawn_anew_when_its_module_changes(with_figure_6: Path) -> None:
    edit(with_figure_6 / "src/weightsharing/figures/fig6/plot.py", "\nCHANGED = 1\n")
    assert planned(with_figure_6) == Counter(fig6=1)
