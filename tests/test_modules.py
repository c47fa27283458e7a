"""The workflow inside another workflow, and from another folder."""

from __future__ import annotations

import functools
import re
import shutil
import textwrap
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from snakemake.cli import get_argument_parser
from test_workflow import run_snakemake, snakemake

(PRINTED,) = re.findall(
    r"^    module weightsharing:\n.*?^    use rule .*?\n",
    (ROOT / "README.md").read_text(),
    re.M | re.S,
)
MODULE = textwrap.dedent(PRINTED).replace("weightsharing/Snakefile", f"{ROOT}/Snakefile")
RUN = "fig4/depth3/run.yaml"


@pytest.mark.parametrize(("text", "result"), [
    pytest.param(MODULE, f"external/results/mine/{RUN}", id="prefix"),
    pytest.param(re.sub(".*(prefix|config).*\n", "", MODULE), f"results/laptop/{RUN}", id="no config"),
    pytest.param(f'include: "{ROOT}/Snakefile"\n', f"results/laptop/{RUN}", id="include"),
    pytest.param("", f"results/laptop/{RUN}", id="elsewhere"),
])  # fmt: skip
def test_a_job_runs(text: str, result: str, tmp_path: Path) -> None:
    """Whatever the other workflow puts before commands; a module does not read its config.yaml."""
    place = ["--snakefile", str(ROOT / "Snakefile")]
    if text:
        place = ["--snakefile", "../Snakefile"]
        (tmp_path / "Snakefile").write_text('shell.prefix("true; ")\n' + text)
    if "module" in text:
        (tmp_path / "config.yaml").write_text("samples: of another workflow\n")
    (tmp_path / "inside").mkdir()
    snakemake(tmp_path / "inside", result, *place, "--directory", str(tmp_path), "--cores", "1")
    run = yaml.safe_load((tmp_path / result).read_text())
    assert (run["id"], run["kappa"]) == ("fig4/depth3", 0.2 if "config" in text else 0.1)
    made = {path.name for path in tmp_path.iterdir()} - {"Snakefile", "config.yaml", "inside"}
    assert made == {".snakemake", *({"external"} if "prefix" in text else {"results", "logs"})}


def test_all_files_have_the_prefix_and_know_what_they_belong_to(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(MODULE)
    plan = snakemake(tmp_path, "-np", "external/figures/fig4.pdf", "external/figures/fig4.rst")
    made = re.findall(r"^    (?:output|log|benchmark): (.*)", plan, re.M)
    assert len(made) > 50
    assert all(path.startswith("external/") for line in made for path in line.split(", "))
    checkpoints = re.findall(r"--checkpoint (\S+)", plan)
    assert checkpoints
    assert all(path.startswith("external/results/mine/checkpoints/") for path in checkpoints)

    target = f"external/results/mine/{RUN}"
    snakemake(tmp_path, target, "--cores", "1")
    (tmp_path / "Snakefile").write_text(MODULE.replace("0.2", "0.15"))
    shutil.rmtree(tmp_path / ".snakemake")
    assert "weightsharing_resolve_scan" in snakemake(tmp_path, "-n", target)


def test_a_bad_configuration_of_a_module_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(MODULE.replace("kappa", "kapa"))
    code, output = run_snakemake(tmp_path, "-n")
    assert code != 0
    assert "\nfig4.kapa: unknown key\n" in output
    assert "Traceback" not in output


def test_rules_without_the_package_are_refused_in_a_line(tmp_path: Path) -> None:
    """As a module by its URL has them."""
    serve = functools.partial(SimpleHTTPRequestHandler, directory=str(ROOT))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "Snakefile").write_text(f'include: "{address}/Snakefile"\n')
        code, output = run_snakemake(tmp_path, "-n")
        server.shutdown()
    assert code != 0
    assert f"{address}/workflow/rules: not a folder of this machine; clone the repository" in output
    assert "Traceback" not in output


def test_what_the_catalog_shows() -> None:
    """The words by which it finds workflows, and options that exist."""
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {"conda": True, "report": True}
    option, _ = usage["mandatory-flags"]["flags"].split()
    assert option in get_argument_parser().format_help()
    text = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in text
    assert "workflow" in text
