"""A slice of the fuzzing of tests/fuzz: a few bad inputs of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import fuzzing
import pytest
from conftest import ROOT
from fuzzing import Tally, Workshop

CONFIGURATIONS, DAMAGES, FORGERIES = 2, 3, 1
EXACT = "fig4/rnn-depth4-exact"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """One run of the small study, and the commands that make its files."""
    folder = tmp_path_factory.mktemp("workshop")
    study = fuzzing.make_study(folder / "small", fuzzing.small_study(), only=[EXACT])
    return Workshop(study, tmp_path_factory.mktemp("scratch"), ["theory", "sample", "measure"])


def test_configurations(tmp_path: Path) -> None:
    tally = Tally(tmp_path / "kept")
    for kind in fuzzing.CONFIGURATIONS:
        for seed in range(CONFIGURATIONS):
            fuzzing.fuzz_configuration(kind, seed, tmp_path, tally)
    tally.check()


def test_damaged_and_forged_files(workshop: Workshop, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "kept")
    for kind in fuzzing.DAMAGES:
        for seed in range(DAMAGES):
            fuzzing.damage(kind, seed, workshop, tally)
    for kind in fuzzing.FORGERIES:
        for seed in range(FORGERIES):
            fuzzing.forge(kind, seed, workshop, tally)
    tally.check()


def test_a_users_file_on_which_hdf5_hangs_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    """Two blocks of this one are exchanged such that HDF5 goes round in circles."""
    tally = Tally(tmp_path / "kept")
    fuzzing.damage_user_file("blocks exchanged", 2, workshop, tally)
    tally.check()
    assert dict(tally.counts) == {("user's task: blocks exchanged", "refused"): 1}


def test_swapped_files(workshop: Workshop, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "kept")
    tree = fuzzing.laid_over(fuzzing.small_study(), fuzzing.OTHERS["kappa"])
    other = fuzzing.make_study(tmp_path / "other", tree, only=[EXACT])
    for swap in fuzzing.swaps(workshop, {"kappa": other}, None):
        fuzzing.swap(*swap, workshop, tally)
    tally.check()


def test_a_wrong_acceptance_is_found() -> None:
    """The oracle: a text read in another way than it is written fails the attempt."""
    text = fuzzing.TEXT.encode()
    said = fuzzing.Said(status=0, out="")
    for wrong in (b"seed: 010", b"seed: 1\nseed: 2", b"seed: yes", b"fig4: {kappa: .nan}"):
        assert fuzzing.configuration_fault((text, wrong), said)
    runs = "\n".join(map(json.dumps, fuzzing.listed(ROOT / "config.yaml").values()))
    right = fuzzing.Said(status=0, out=runs)
    assert not fuzzing.configuration_fault((text,), right)
    assert fuzzing.configuration_fault((text, b"fig4: {kappa: 0.2}"), right)
    assert fuzzing.judge(right, "", lambda _: "other numbers")[0] == "wrongly accepted"
    assert fuzzing.judge(fuzzing.Said(traceback="KeyError"), "", lambda _: "")[0] == "traceback"
