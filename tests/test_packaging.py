"""Which Pythons, platforms and versions there are: all files that name them agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from test_workflow import COPIED

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def parsed(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by name."""
    found = map(Requirement, lines)
    return {requirement.name.lower(): requirement for requirement in found}


@pytest.fixture(scope="module")
def lock() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return parsed([line for line in lines if not line.startswith("#")])


def planned(*words: str) -> str:
    """The commands of make, whatever a make that runs these tests was given."""
    return subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def test_conda_environment_has_the_ranges_of_pyproject() -> None:
    conda_names = {
        "torch": "pytorch", "snakemake": "snakemake-minimal", "matplotlib": "matplotlib-base",
    }  # fmt: skip
    found = parsed(yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"])
    assert found.pop("python").specifier == SpecifierSet(PROJECT["requires-python"])
    # snakemake --report needs pygments, which only the full conda package of snakemake brings.
    assert found.pop("pygments")
    wanted = parsed(PROJECT["dependencies"])
    assert {name: one.specifier for name, one in found.items()} == {
        conda_names.get(name, name): one.specifier for name, one in wanted.items()
    }


def test_lock_file_satisfies_pyproject(lock: dict[str, Requirement]) -> None:
    extras = PROJECT["optional-dependencies"]
    needed = parsed(PROJECT["dependencies"] + extras["slurm"] + extras["development"])
    for name, wanted in needed.items():
        (pin,) = lock[name].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), name
        assert lock[name].marker == wanted.marker, name
    assert parsed(extras["gpu"])["triton"] == needed["triton"]
    assert str(lock["torch"]) == "torch==2.13.0"


def test_lock_file_is_the_same_for_all_builds_of_pytorch(lock: dict[str, Requirement]) -> None:
    """No CUDA, which PyTorch for CUDA brings itself; no label such as +cpu, and no address."""
    assert not [name for name in lock if name.startswith(("nvidia", "cuda"))]
    assert not re.search(r"\+|://|--", (ROOT / "requirements.lock").read_text())


def test_supported_pythons_are_the_same_everywhere() -> None:
    """pyproject.toml, make lock-check, the tests on GitHub, the container, README."""
    minors = [f"3.{minor}" for minor in range(30)]
    assert list(SpecifierSet(PROJECT["requires-python"]).filter(minors)) == PYTHONS
    assert f'in "{" ".join(PYTHONS)}"' in planned("-W", "requirements.lock", ".venv/.installed")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == PYTHONS
    image = re.search(r"^FROM python:(.*)-slim$", (ROOT / "Dockerfile").read_text(), re.M)
    assert image
    assert image[1] in PYTHONS
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / "README.md").read_text()


def test_container_has_the_versions_of_the_lock_file() -> None:
    """It installs by make alone, and make by the lock file."""
    runs = re.findall(r"^RUN (.*)", (ROOT / "Dockerfile").read_text(), re.M)
    assert [line for line in runs if "apt-get" not in line] == ["make CPU=1 .venv/.installed"]
    assert "requirements.lock" not in (ROOT / ".dockerignore").read_text()


def test_one_word_installs_the_small_build_of_pytorch() -> None:
    """uv takes it from where it is; pip, which follows, keeps it."""
    rest = planned("-W", "requirements.lock", ".venv/.installed").splitlines()
    small = planned("-W", "requirements.lock", "CPU=1", ".venv/.installed").splitlines()
    added = [line for line in small if line not in rest]
    place = small.index(added[0])
    assert small == [*rest[:place], *added, *rest[place:]]
    assert re.search(r"pip install .*uv==[\d.]+$", added[0])
    assert re.search(r"uv pip install .* --torch-backend cpu --no-deps torch==2.13.0$", added[1])
    assert small[place + 2].endswith("-r requirements.lock")


def test_bare_snakemake_says_what_to_install(tmp_path: Path) -> None:
    """Without a package that Snakemake does not bring."""
    for name in COPIED:
        (tmp_path / name).symlink_to(ROOT / name)
    script = "import sys; sys.modules['xarray'] = None; import snakemake.cli as c; c.main(['-n'])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    output = done.stdout + done.stderr
    (line,) = (line for line in output.splitlines() if "xarray" in line)
    assert "install them first, by make" in line
    assert "Traceback" not in output
