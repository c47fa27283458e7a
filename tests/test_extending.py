"""docs/extending.md: its commands run as they stand there, its figure is made of its own blocks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import xarray as xr
import yaml
from conftest import ROOT, assert_z
from test_workflow import configure, edit, planned, smoke_repository, snakemake

from weightsharing.files import read_tasks

PAGE = (ROOT / "docs/extending.md").read_text()


def section(name: str) -> str:
    """The text under a heading."""
    (text,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return str(text)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language under "A figure", in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", section("A figure"), re.M | re.S)


def commands(name: str) -> str:
    """The indented lines of a section, as one script."""
    return "".join(re.findall(r"^    (.*\n)", section(name), re.MULTILINE))


def replace(path: Path, old: str, new: str) -> None:
    """Exactly one place of a file is changed."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def run(name: str, folder: Path) -> str:
    """Run the commands of a section in a copy of the repository; what they print."""
    repository = smoke_repository(folder)
    (repository / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands(name)],
        cwd=repository, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_task_of_ones_own(tmp_path: Path) -> None:
    run("A task", tmp_path)
    (task,) = read_tasks(tmp_path / "mine/task.nc")
    assert task.inputs.shape == (2, 4, 3)
    assert task.supervised.sum() == 4
    with xr.open_dataset(tmp_path / "mine/theory.nc") as theory:
        assert theory.attrs["converged"] == "yes"


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
    """A repository after the eight steps of a new figure."""
    repository = smoke_repository(tmp_path_factory.mktemp("extended"))
    package, rules = repository / "src/weightsharing", repository / "workflow/rules"
    settings, drawing, verb, rule = blocks("python")
    (values,) = blocks("yaml")
    (caption,) = blocks("rst")

    def quoted(number: int, like: str) -> str:
        """What the sentences of a step have between backticks."""
        (step,) = re.findall(rf"^\*\*{number}\. (.*?)(?=^```|^\*\*\d\. )", PAGE, re.M | re.S)
        found: list[str] = [word for word in re.findall(r"`([^`]+)`", step) if like in word]
        assert len(found) == 1, found
        return found[0]

    config = package / "config.py"
    replace(config, "class Config(Record):\n", f"{settings}\n\nclass Config(Record):\n")
    replace(config, "    fig5: Figure5\n", f"    fig5: Figure5\n    {quoted(2, 'fig6:')}\n")
    listed = "        *figure5_runs(config),\n"
    replace(config, listed, f"{listed}        {quoted(2, '*figure6_runs')}\n")
    edit(repository / "config.yaml", values)
    (narrow, *_) = yaml.safe_load(values)["fig6"]["samplers"]
    configure(repository, "fig6.samplers", [narrow])  # one width will do
    (package / "plotting/fig6.py").write_text(drawing)
    (package / "commands/fig6.py").write_text(verb)
    before = '    "fig5": "draw figure 5",\n'
    replace(package / "cli.py", before, f"{before}    {quoted(6, 'draw figure 6')}\n")
    edit(rules / "figures.smk", f"\n\n{rule}")
    imported = "    figure5_runs,\n"
    replace(rules / "common.smk", imported, f"{imported}    {quoted(7, 'figure6_runs')},\n")
    target = '        "figures/fig5.pdf",\n'
    replace(repository / "Snakefile", target, f"{target}        {quoted(7, 'fig6.pdf')},\n")
    (repository / "workflow/report/fig6.rst").write_text(caption)
    return repository


def test_a_figure_of_ones_own_is_made_and_drawn_anew_when_its_module_changes(
    with_figure_6: Path,
) -> None:
    output = snakemake(with_figure_6, "figures/fig6.pdf")
    assert "rule fig6" in output
    assert (with_figure_6 / "figures/fig6.pdf").read_bytes().startswith(b"%PDF")
    edit(with_figure_6 / "src/weightsharing/plotting/fig6.py", "\n# changed\n")
    assert planned(with_figure_6, "figures/fig6.pdf") == Counter(fig6=1)
