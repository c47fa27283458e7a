"""Chains and workflows killed again and again, and every bit of small files: `make test-faults`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import test_faults
import xarray as xr
from conftest import endpoint_run
from killing import command, files_in, kill_at, moments, start, step_of, without_time
from test_faults import assert_same_draws, new_folder
from test_workflow import FIGURES, configure, run_snakemake, smoke_repository, snakemake


def test_chain_killed_at_ten_moments(tmp_path: Path) -> None:
    run = endpoint_run(3.0, width=64, burn_in=0.0, duration=40.0, draws=400)
    alone, killed = new_folder(tmp_path / "alone", run), new_folder(tmp_path / "killed", run)
    assert start(command(alone), tmp_path).wait() == 0
    for step, delay in moments(40_000):
        kill_at(lambda: step_of(killed.checkpoint), step, delay, command(killed), tmp_path)
    assert not (killed / "samples.nc").exists()
    assert killed.checkpoint.exists()
    assert start(command(killed), tmp_path).wait() == 0
    assert_same_draws(killed / "samples.nc", alone / "samples.nc")
    assert not killed.checkpoint.exists()
    assert not list(killed.path.glob(".*"))


def test_workflow_killed_at_ten_moments(tmp_path: Path) -> None:
    """SIGKILL of Snakemake and all its jobs; then --unlock and the same command."""
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    alone, killed = smoke_repository(tmp_path / "alone"), smoke_repository(tmp_path / "killed")
    snakemake(alone)
    files = files_in(alone)

    words = [sys.executable, "-m", "snakemake"]
    locked = 0
    for count, delay in moments(len(files)):
        kill_at(lambda: len(files_in(killed)), count, delay, words, killed)
        if list((killed / ".snakemake" / "locks").glob("*")):
            code, output = run_snakemake(killed)
            assert code != 0
            assert "--unlock" in output
            snakemake(killed, "--unlock")
            locked += 1
    assert locked
    snakemake(killed)

    assert files_in(killed) == files
    for file in files:
        if file.suffix == ".nc":
            xr.testing.assert_identical(without_time(killed / file), without_time(alone / file))
        elif file.stem != "runs":  # the table of runs lists the seconds they took
            assert (killed / file).read_bytes() == (alone / file).read_bytes(), file
    for name in FIGURES:
        figure = Path("figures") / f"{name}.pdf"
        assert (killed / figure).read_bytes() == (alone / figure).read_bytes()
    assert not list(killed.rglob("*.part*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_workflow_asked_to_stop_resumes_without_unlocking(tmp_path: Path, number: int) -> None:
    """Ctrl-C and a cluster's SIGTERM reach Snakemake and the chain alike.

    The chain would take hours, so that on no machine it ends before the signal. That a resumed one ends
    as if nothing had been is seen in ``test_chain_killed_at_ten_moments``.
    """
    folder = smoke_repository(tmp_path)
    configure(folder, "fig3.samplers.rnn_weak.duration", 4e6)
    target = "results/smoke/fig3/rnn-weak/samples.nc"
    checkpoint = folder / "results/smoke/checkpoints/fig3/rnn-weak.npz"
    log = folder / "logs/smoke/fig3/rnn-weak/sample.log"
    for words in ("/s, ", "resuming at step"):  # the first line of progress, then that of the rerun
        process = start([sys.executable, "-m", "snakemake", target], folder)
        deadline = time.monotonic() + 300
        while not log.exists() or words not in log.read_text():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, number)
        assert process.wait() != 0
        assert not (folder / target).exists()
        assert step_of(checkpoint) > 0
        if number == signal.SIGINT:
            assert "interrupted at step" in log.read_text()


# --- every bit --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def thorough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_faults, "FLIPS", 5000)
    monkeypatch.setattr(test_faults, "CUTS", 500)
    monkeypatch.setattr(test_faults, "BITS", 8)


whole, copy = test_faults.whole, test_faults.copy
test_every_bit_of_data = test_faults.test_damaged_data_are_named_and_never_read
test_every_bit_of_parameters = test_faults.test_damaged_parameters_are_named_or_the_same
test_every_bit_of_a_checkpoint = test_faults.test_a_damaged_checkpoint_is_not_resumed_from
