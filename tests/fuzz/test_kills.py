"""Sixty kills, each followed by the same command again: `make test-fuzz`.

The signals end commands of the program, and Snakemake alone or with its jobs. No file is ever half there,
no checkpoint ever goes back, and the last rerun ends as if nothing had been.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import endpoint_run
from fuzzing import differs, show
from killing import command, kill_at, moments, start, step_of
from test_faults import Folder, assert_same_draws, new_folder
from test_workflow import configure, run_snakemake, smoke_repository, snakemake

# Kills of one chain by each signal; of measure and of resolve; of Snakemake alone, and with its jobs.
CHAIN, SHORT, WORKFLOW = 10, 10, 5
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RUN = endpoint_run(3.0, width=64, burn_in=0.0, duration=20.0, draws=200)


@pytest.fixture(scope="module")
def kills(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Kills after which the result was right, by kind, printed at the end."""
    counts: Counter[str] = Counter()
    yield counts
    rows = [f"| {kind} | {count} |" for kind, count in (*counts.items(), ("all", counts.total()))]
    text = "\n".join(["| killed, result right after a rerun | kills |", "| --- | --- |", *rows])
    show(request, text)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The undisturbed run."""
    folder = new_folder(tmp_path_factory.mktemp("alone"), RUN)
    assert folder.sample() == 0
    files = folder.files("samples.nc", "measures.nc")
    assert start(program("measure", *files), folder.path).wait() == 0
    return folder


def program(*words: object) -> list[str]:
    """A command of the program."""
    return [sys.executable, "-m", "weightsharing", *map(str, words)]


@pytest.mark.parametrize("number", SIGNALS)
def test_sample(alone: Folder, tmp_path: Path, number: signal.Signals, kills: Counter[str]) -> None:
    """Each rerun goes on from the checkpoint: its step never falls."""
    killed = new_folder(tmp_path / "killed", RUN)
    reached = 0
    for step, delay in moments(20_000, CHAIN):
        kill_at(lambda: step_of(killed.checkpoint), step, delay, command(killed), tmp_path, number)
        assert step_of(killed.checkpoint) >= max(reached, step)
        reached = step_of(killed.checkpoint)
        assert not (killed / "samples.nc").exists()
    assert start(command(killed), tmp_path).wait() == 0
    assert_same_draws(killed / "samples.nc", alone / "samples.nc")
    kills[f"sample, by {number.name}"] += CHAIN


@pytest.mark.parametrize("verb", ["measure", "resolve"])
def test_short_commands(alone: Folder, tmp_path: Path, verb: str, kills: Counter[str]) -> None:
    """Killed at any moment, or just ended: the output is complete or absent."""
    if verb == "measure":
        output = tmp_path / "measures.nc"
        words = program(verb, *alone.files("samples.nc"), output)
        expected = alone / "measures.nc"
    else:
        output = tmp_path / "task.nc"
        words = program(verb, RUN.model_dump_json(), tmp_path / "run.yaml", "--task", output)
        expected = alone / "task.nc"
    for index, delay in enumerate(np.random.default_rng(5).uniform(0.0, 2.0, SHORT)):
        output.unlink(missing_ok=True)
        process = start(words, tmp_path)
        try:
            assert process.wait(float(delay)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, SIGNALS[index % len(SIGNALS)])
            process.wait()
        assert not output.exists() or not differs(output, expected)
    assert start(words, tmp_path).wait() == 0
    assert not differs(output, expected)
    assert not list(tmp_path.glob(".*"))
    kills[verb] += SHORT


@pytest.mark.parametrize(("who", "send"), [("alone", os.kill), ("and its jobs", os.killpg)])
def test_snakemake(
    tmp_path: Path, who: str, send: Callable[[int, int], None], kills: Counter[str]
) -> None:
    """SIGKILL; a surviving job does no harm to the rerun."""
    target = Path("results/smoke/fig3/rnn-weak/samples.nc")
    checkpoint = Path("results/smoke/checkpoints/fig3/rnn-weak.npz")
    folders = {}
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        folders[name] = smoke_repository(tmp_path / name)
        configure(folders[name], "fig3.samplers.rnn_weak.duration", 2000.0)
    snakemake(folders["undisturbed"], str(target))
    killed = folders["killed"]
    words = [sys.executable, "-m", "snakemake", str(target)]
    for delay in np.random.default_rng(6).uniform(0.0, 5.0, WORKFLOW):
        (killed / target).unlink(missing_ok=True)
        (killed / checkpoint).unlink(missing_ok=True)
        kill_at(lambda: 0, 0, float(delay), words, killed, signal.SIGKILL, send)
        run_snakemake(killed, "--unlock")
    snakemake(killed, str(target))
    assert_same_draws(killed / target, folders["undisturbed"] / target)
    kills[f"Snakemake {who}"] += WORKFLOW
