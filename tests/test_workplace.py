"""The folder that the workflow runs in is checked before Snakemake fails there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_workflow import COPIED, run_snakemake

from weightsharing.workplace import faults

NAMES = ("results", "logs")


def test_a_usable_folder_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    assert faults(tmp_path, NAMES) == []


def test_each_fault_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "{a}"
    here.mkdir()
    (here / "results").touch()
    (here / "logs").symlink_to(here / "absent")
    lines = faults(here, NAMES)
    assert lines == [
        f"{here}: has a brace, which Snakemake takes for a wildcard; use another folder",
        f"{here / 'results'}: not a folder, but the workflow writes to results/",
        f"{here / 'logs'}: not a folder, but the workflow writes to logs/",
    ]
    # For root, all is writable but a file system that is mounted read-only.
    monkeypatch.setattr("os.access", lambda *arguments: False)
    assert faults(tmp_path, ["results"]) == [
        f"{tmp_path}: not writable, but the workflow writes to results/"
    ]


def test_snakemake_says_it_in_a_line(tmp_path: Path) -> None:
    for name in COPIED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "results").touch()
    code, output = run_snakemake(tmp_path, "-n")
    assert code != 0
    assert "results: not a folder, but the workflow writes to results/" in output
    assert "Traceback" not in output


def test_blas_has_one_thread_whatever_the_workflow_says() -> None:
    """Snakemake sets this variable to the threads of a job, each of which is a process of its own."""
    ended = "import atexit, os, runpy; atexit.register(lambda: print(os.environ[NAME]))"
    script = f"NAME = 'OPENBLAS_NUM_THREADS'; {ended}; runpy.run_module('weightsharing')"
    done = subprocess.run(
        [sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "1"
