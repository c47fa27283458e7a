"""Files: atomic, attributed, damage named."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import ROOT, endpoint_run, succeed

from weightsharing import files, origin
from weightsharing.errors import FileError
from weightsharing.files import read_dataset, read_record, read_tasks, task_dataset, write_dataset
from weightsharing.model.dictionary import entry
from weightsharing.model.task import Task
from weightsharing.model.tasks import FileTask
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition

RUN = endpoint_run(2.0)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A task file."""
    run = endpoint_run(2.0)
    write_dataset(task_dataset(run.tasks[0]), tmp_path / "task.nc", "task", run)
    return tmp_path / "task.nc"


def test_task_round_trip(written: Path) -> None:
    (task,) = read_tasks(written, RUN)
    np.testing.assert_array_equal(task.inputs[0, :, 0], [1.0, 0.0, 0.0, 0.0])
    assert task.targets[0, -1] == np.sqrt(2.0)
    assert task.supervised.tolist() == [[False, False, False, True]]


def test_provenance_is_kept(written: Path) -> None:
    attributes = read_dataset(written, "task", RUN).attrs
    assert Run.model_validate_json(attributes["run"]) == endpoint_run(2.0)
    assert set(attributes) == {
        "content", "run", "code", "weightsharing_version", "git_commit"
    }  # fmt: skip


def test_run_round_trip(tmp_path: Path) -> None:
    files.write_record(endpoint_run(2.0), tmp_path / "run.yaml")
    assert read_record(tmp_path / "run.yaml", Run) == endpoint_run(2.0)
    with pytest.raises(FileError, match=r"run\.yaml: holds a .run., not a .transition."):
        read_record(tmp_path / "run.yaml", Transition)


def test_missing_and_broken_run_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"run\.yaml: cannot be read"):
        read_record(tmp_path / "run.yaml", Run)
    for content in (b"a: [", b"\xff\xfe\x00binary"):
        (tmp_path / "run.yaml").write_bytes(content)
        with pytest.raises(FileError, match=r"run\.yaml: not YAML"):
            read_record(tmp_path / "run.yaml", Run)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign"])
def test_damaged_files_are_named(written: Path, damage: str) -> None:
    content = written.read_bytes()
    if damage == "missing":
        written.unlink()
    else:
        broken = {"empty": b"", "truncated": content[: len(content) // 2], "foreign": b"PNG" * 99}
        written.write_bytes(broken[damage])
    with pytest.raises(FileError, match=r"task\.nc: "):
        read_tasks(written, RUN)


def test_file_of_another_content_is_named(written: Path) -> None:
    with pytest.raises(FileError, match="holds task, not samples"):
        read_dataset(written, "samples", RUN)


def test_files_of_another_run_are_refused(written: Path, tmp_path: Path) -> None:
    run = endpoint_run(2.0)
    other = run.model_copy(update={"seed": run.seed + 1})
    # A task belongs to all samplers and seeds, samples to one run.
    assert len(read_tasks(written, other)) == 1
    with pytest.raises(FileError, match=r"task of another run, with kappa = 0.1 instead of 0.2"):
        read_tasks(written, run.model_copy(update={"kappa": 0.2}))
    write_dataset(xr.Dataset(), tmp_path / "samples.nc", "samples", run)
    assert read_dataset(tmp_path / "samples.nc", "samples", run).attrs["content"] == "samples"
    with pytest.raises(FileError, match=f"samples of another run, with seed = {run.seed}"):
        read_dataset(tmp_path / "samples.nc", "samples", other)


def test_inconsistent_task_is_named(tmp_path: Path) -> None:
    run = endpoint_run(2.0)
    dataset = task_dataset(run.tasks[0])
    dataset["supervised"] = xr.ones_like(dataset["supervised"])
    write_dataset(dataset, tmp_path / "task.nc", "task", run)
    with pytest.raises(FileError, match="NaN or infinite at a supervised time"):
        read_tasks(tmp_path / "task.nc", RUN)


def test_a_task_in_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    """A run of a changed file is another run; without the hash nobody would see it."""
    path = tmp_path / "mine.nc"
    task = RUN.tasks[0]
    for scale in (1.0, 2.0):
        targets = ("pattern", "output_time"), scale * task.targets
        inputs = ("pattern", "time", "feature"), task.inputs
        xr.Dataset({"inputs": inputs, "targets": targets}).to_netcdf(path)
        run = RUN.model_copy(update={"task": FileTask(path=str(path), patterns=1)}).sealed()
        if scale == 1.0:
            first = run
            write_dataset(task_dataset(run.tasks[0]), tmp_path / "task.nc", "task", run)
    with pytest.raises(FileError, match=r"task\.nc: task of another run, with task"):
        read_tasks(tmp_path / "task.nc", run)
    assert len(read_tasks(tmp_path / "task.nc", first)) == 1
    with pytest.raises(FileError, match=r"mine\.nc: changed since the run was resolved"):
        first.sealed()


@pytest.mark.parametrize(
    ("inputs", "targets", "says"),
    [
        (np.zeros((2, 3)), np.zeros((2, 3)), "inputs: shape"),
        (np.zeros((2, 3, 1)), np.zeros((2, 4)), "targets: shape"),
        (np.full((2, 3, 1), np.nan), np.zeros((2, 3)), "inputs: not all finite"),
    ],
)
def test_task_of_wrong_shape_is_refused(inputs: np.ndarray, targets: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Task(inputs, targets, np.zeros(targets.shape, dtype=bool))


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_text("old")

    def write_and_fail() -> None:
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_commit_is_read_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git would take one to note that a touched file is the same, and leave it behind if killed."""

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    monkeypatch.setattr(origin, "__file__", str(tmp_path / "source.py"))
    monkeypatch.setattr(origin, "FOLDER", tmp_path)
    assert origin.git_commit() == f"source {origin.source_hash()}"
    git("init")
    (tmp_path / "other.py").touch()
    git("add", "other.py")
    git("commit", "-m", "somebody else's")
    # Installed inside a repository of its user: that commit says nothing about this code.
    (tmp_path / "source.py").touch()
    before_change = origin.git_commit()
    assert before_change == f"source {origin.source_hash()}"
    (tmp_path / "source.py").write_text("# changed")
    assert origin.git_commit() != before_change
    (tmp_path / "source.py").write_text("")
    git("add", "source.py")
    git("commit", "-m", "first")
    os.utime(tmp_path / "source.py", (1, 1))
    index = tmp_path / ".git" / "index"
    before = index.stat().st_mtime_ns, index.read_bytes()
    assert origin.git_commit() == git("rev-parse", "HEAD")[:12]
    assert (index.stat().st_mtime_ns, index.read_bytes()) == before
    (tmp_path / "source.py").write_text("changed")
    assert origin.git_commit() == git("rev-parse", "HEAD")[:12] + "+"


def test_page_of_the_dictionary_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails: python -m weightsharing dictionary > docs/data.md."""
    succeed("dictionary")
    assert capsys.readouterr().out == (ROOT / "docs/data.md").read_text()


def test_entries_of_the_dictionary() -> None:
    """Endings add words and may change the units; names without an entry have none."""
    found = entry("kernel_relative_error_standard_error")
    assert found is not None
    assert found.long_name.endswith("Frobenius norms: standard error of the mean")
    assert found.units == "O(1/N)"
    assert (entry("loss_rhat") or found).units == "1"
    assert entry("colour") is None
