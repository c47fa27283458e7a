"""Faults and their consequences, listed in docs/reliability.md. Slower tests: make test-faults."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from conftest import ROOT, endpoint_run, exact_run, kinetic_run, lines_of_failure, succeed
from test_workflow import run_snakemake, smoke_repository
from torch import Tensor

from weightsharing import files as storage
from weightsharing.cli import main
from weightsharing.errors import FileError, UserError
from weightsharing.figures.style import save
from weightsharing.files import read_dataset, read_record, write_dataset, write_record
from weightsharing.model.activations import ActivationName
from weightsharing.model.tasks import FileTask
from weightsharing.sampling import chain, langevin
from weightsharing.sampling.backends.compiled import step as compiled
from weightsharing.sampling.batches import single
from weightsharing.sampling.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from weightsharing.sampling.exact import ExactSettings, marginal
from weightsharing.sampling.protocol import Sampler, tensors_of
from weightsharing.sampling.random import Streams
from weightsharing.sampling.run import Run

SHORT = endpoint_run(3.0, burn_in=0.2, duration=0.4, draws=10)


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of one run, and its commands."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def files(self, *names: str) -> list[str]:
        """Paths of the run, its task and further files."""
        return [str(self / name) for name in ("run.yaml", "task.nc", *names)]

    @property
    def words(self) -> list[str]:
        """The command that samples, with a checkpoint."""
        return ["sample", *self.files("samples.nc"), "--checkpoint", str(self.checkpoint)]

    def sample(self, *options: str) -> int:
        """Sample; return the exit status."""
        return main([*self.words, *options])

    def measure(self) -> int:
        """Compare theory and samples; return the exit status."""
        files = self.files("samples.nc", "measures.nc")
        return main(["measure", *files, "--theory", str(self / "theory.nc")])

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the chain."""
        return self / "checkpoint.npz"


def new_folder(path: Path, run: Run = SHORT) -> Folder:
    """A folder with the run and its task."""
    path.mkdir(exist_ok=True)
    succeed("resolve", run.model_dump_json(), path / "run.yaml", "--task", path / "task.nc")
    return Folder(path)


def assert_same_draws(first: Path, second: Path) -> None:
    """The draws in two files, which may be of any run."""
    with xr.open_dataset(first) as one, xr.open_dataset(second) as other:
        xr.testing.assert_equal(one, other)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """All files of an undisturbed run."""
    folder = new_folder(tmp_path_factory.mktemp("whole"))
    assert folder.sample() == 0
    succeed("theory", *folder.files("theory.nc"))
    assert folder.measure() == 0
    return folder


@pytest.fixture
def copy(whole: Folder, tmp_path: Path) -> Folder:
    """A copy of the undisturbed run, to be damaged."""
    for path in whole.path.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Folder(tmp_path)


# --- damaged files ----------------------------------------------------------------------------


# Random changes and cuts of each file, and bits changed in each byte of its header. `make test-faults`
# changes more.
FLIPS, CUTS, BITS = 300, 50, 1


def damages(content: bytes, header: range) -> Iterator[bytes]:
    """The content with one bit changed: in each byte of the header, and anywhere; and cut short."""
    generator = np.random.default_rng(7)
    bits = [8 * byte + bit for byte in header for bit in generator.permutation(8)[:BITS].tolist()]
    bits += generator.integers(8 * len(content), size=FLIPS).tolist()
    for bit in dict.fromkeys(bits):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    cuts = generator.integers(len(content), size=CUTS).tolist()
    for length in (0, 1, len(content) - 1, *cuts):
        yield content[:length]


@pytest.mark.parametrize("name", ["task", "theory", "samples"])
def test_damaged_data_are_named_and_never_read(copy: Folder, name: str) -> None:
    path = copy / f"{name}.nc"
    content = path.read_bytes()
    seal = range(content.rindex(b"sha256 "), len(content))
    for damaged in damages(content, seal):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=rf"{name}\.nc: damaged"):
            read_dataset(path, name, SHORT)


def test_damaged_parameters_are_named_or_the_same(copy: Folder) -> None:
    """A change in the mark of the first line leaves a file as if by hand, with the same content."""
    path = copy / "run.yaml"
    content = path.read_bytes()
    first = content.index(b"\n")
    whole, same = read_record(path, Run), 0
    for damaged in damages(content, range(first + 1)):
        path.write_bytes(damaged)
        try:
            found = read_record(path, Run)
        except UserError as error:
            named = str(path) in str(error)
        else:
            named, same = True, same + 1
            assert found == whole
        assert named
    assert same <= 8 * len("# sha256 ")


def test_parameters_edited_by_hand_are_refused_until_their_seal_is_taken_off(copy: Folder) -> None:
    path = copy / "run.yaml"
    edited = path.read_text().replace("kappa: 0.1", "kappa: 0.2")
    path.write_text(edited)
    with pytest.raises(FileError, match=r"run\.yaml: damaged or edited"):
        read_record(path, Run)
    path.write_text(edited.partition("\n")[2])
    assert read_record(path, Run).kappa == 0.2


@pytest.mark.parametrize("name", ["run.yaml", "task.nc", "samples.nc", "theory.nc"])
def test_a_command_given_a_damaged_file_names_it_and_writes_nothing(
    copy: Folder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "measures.nc").unlink()
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    assert copy.measure() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{copy / name}: damaged")
    assert not (copy / "measures.nc").exists()


@pytest.mark.parametrize("name", ["notes.txt", "mine.npz", "folder"])
def test_a_checkpoint_never_replaces_another_file(
    copy: Folder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / name
    writers: dict[str, Callable[[], object]] = {
        "notes.txt": lambda: path.write_text("precious"),
        "mine.npz": lambda: np.savez(path, a=np.zeros(3)),
        "folder": path.mkdir,
    }
    writers[name]()
    before = None if path.is_dir() else path.read_bytes()
    sample = [*copy.words[:3], copy / "again.nc", "--checkpoint", path]
    # It removes the checkpoint when the measures are there.
    files = copy.files("samples.nc", "other.nc")
    measure = ["measure", *files, "--checkpoint", path]
    for words in (sample, measure):
        (line,) = lines_of_failure(capsys, *words)
        assert line.endswith(f"{path}: not a checkpoint, but another file; give another name")
        assert path.is_dir() or path.read_bytes() == before


def test_finished_draws_are_found_again_until_their_measures_are_there(
    copy: Folder, whole: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    """As when Snakemake alone is killed: it deletes samples that ended without it."""
    (copy / "samples.nc").unlink()
    assert copy.sample() == 0
    (copy / "samples.nc").unlink()
    caplog.clear()
    assert copy.sample() == 0
    assert "resuming at step 600 of 600" in caplog.text
    assert_same_draws(copy / "samples.nc", whole / "samples.nc")
    assert copy.checkpoint.exists()
    files = copy.files("samples.nc", "measures.nc")
    succeed("measure", *files, "--checkpoint", copy.checkpoint)
    assert not copy.checkpoint.exists()


def test_a_file_given_twice_is_refused(copy: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    """An output that is an input as well would be replaced."""
    content = (copy / "samples.nc").read_bytes()
    words = ["measure", *copy.files("samples.nc"), copy.path / "." / "samples.nc"]
    (line,) = lines_of_failure(capsys, *words)
    assert line == f"{copy / 'samples.nc'}: given twice; want different files"
    assert (copy / "samples.nc").read_bytes() == content


def test_inputs_that_are_no_arguments_are_not_replaced_either(
    copy: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration, and the data of a task in a file."""
    config = copy / "my.yaml"
    config.write_text((ROOT / "config.yaml").read_text())
    data = copy / "data.nc"
    inputs = ("pattern", "time", "feature"), SHORT.tasks[0].inputs
    targets = ("pattern", "output_time"), SHORT.tasks[0].targets
    xr.Dataset({"inputs": inputs, "targets": targets}).to_netcdf(data)
    run = SHORT.model_copy(update={"task": FileTask(path=str(data), patterns=1)}).model_dump_json()
    for path, words in (
        (config, ["scorecard", config, "--config", config]),
        (data, ["resolve", run, data]),
        (data, ["resolve", run, copy / "other.yaml", "--task", data]),
    ):
        before = path.read_bytes()
        (line,) = lines_of_failure(capsys, *words)
        assert line == f"{path}: given twice; want different files"
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["loop", "x" * 300])
def test_a_name_that_is_no_path_is_a_line(
    copy: Folder, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "loop":
        (copy / name).symlink_to(copy / name)
    files = copy.files("samples.nc")
    (line,) = lines_of_failure(capsys, "measure", *files, copy / name)
    assert f"{copy / name}: cannot be written" in line


CHECK, FULL = "weightsharing check config.yaml", ">/dev/full"


@pytest.mark.parametrize(("words", "target"), [
    (CHECK, FULL), (CHECK, "| head -1"), (CHECK, "| true"), (CHECK, ">&-"),
    ("weightsharing figure --help", FULL), ("weightsharing figure --help", "| true"),
    ("weightsharing --version", "| true"), ("bench --help", "| true"),
])  # fmt: skip
def test_an_output_that_ends_early_is_a_line(words: str, target: str) -> None:
    if target == FULL and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    # Python writes its output at once or, as on most machines, when there is much of it or at its end.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m {words} {target}"], cwd=ROOT,
        env=environment | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "MPLBACKEND": "module://nowhere"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = (1, "output: No space left on device\n") if target == FULL else (0, "")
    assert (done.returncode, done.stderr) == said


@pytest.mark.parametrize("kind", ["device", "link"])
def test_an_output_that_is_no_file_is_written_to(copy: Folder, kind: str) -> None:
    target = copy / "elsewhere.nc"
    output = Path("/dev/null") if kind == "device" else copy / "link.nc"
    if kind == "link":
        output.symlink_to(target)
    succeed("measure", *copy.files("samples.nc"), output)
    assert output.is_char_device() if kind == "device" else output.is_symlink()
    assert kind == "device" or target.is_file()


def begun(run: Run, path: Path) -> tuple[chain.Chains, Sampler[Any], Checkpoint]:
    """Chains at step 0, and their checkpoint."""
    batch = single(run, run.tasks[0])
    target, sampler = chain.build_sampler(batch, torch.device("cpu"))
    return chain.begin(batch, target, sampler), sampler, Checkpoint(path, "key", 0.0)


def test_a_damaged_checkpoint_is_not_resumed_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A bit of each byte of its seal, and others: left with a warning. Whole, it is as it was saved."""
    path = tmp_path / "c.npz"
    chains, sampler, checkpoint = begun(endpoint_run(3.0, width=4, draws=4), path)
    chain.keep(chains, checkpoint)
    content = path.read_bytes()
    for damaged in damages(content, range(len(content) - 64, len(content))):
        path.write_bytes(damaged)
        caplog.clear()
        assert chain.resume(checkpoint, sampler, torch.device("cpu"), 10) is None
        assert f"{path}: damaged; starting anew" in caplog.text
    path.write_bytes(content)
    found = chain.resume(checkpoint, sampler, torch.device("cpu"), 10)
    assert found is not None
    assert found.step == chains.step
    for part in ("state", "draws"):
        before, after = (tensors_of(getattr(each, part)) for each in (chains, found))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(found.stiffness, chains.stiffness)
    for stream, expected in zip(found.streams, chains.streams, strict=True):
        assert torch.equal(stream.get_state(), expected.get_state())


# --- where files cannot be written ------------------------------------------------------------


@contextlib.contextmanager
def no_larger_than(size: int) -> Iterator[None]:
    """Writing fails beyond this size of a file, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_figure(path: Path) -> None:
    figure = plt.figure()
    figure.subplots().imshow(np.random.default_rng(1).random((50, 50)))
    try:
        save(figure, path)
    finally:
        plt.close(figure)


def write_checkpoint(path: Path) -> None:
    chains, _, checkpoint = begun(SHORT, path)
    chain.keep(chains, checkpoint)


WRITERS: dict[str, Callable[[Path], None]] = {
    "data.nc": lambda path: write_dataset(xr.Dataset({"a": ("x", np.arange(999.0))}), path, "a", SHORT),
    "run.yaml": lambda path: write_record(SHORT, path),
    "figure.pdf": write_figure,
    "figure.png": write_figure,
    "checkpoint.npz": write_checkpoint,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_failed_write_names_the_file_and_leaves_the_old_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    with (
        no_larger_than(256),
        pytest.raises(FileError, match=rf"{name}: cannot be written: .*[Ff]ile too"),
    ):
        WRITERS[name](path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    WRITERS[name](path)
    assert path.stat().st_size > 256


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if mounted.returncode:
        pytest.skip(f"file systems cannot be mounted: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("where", ["output", "checkpoint"])
def test_full_disk(
    whole: Folder, small_disk: Path, where: str,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """One line; the old output and the checkpoint stay; with room again a rerun ends right."""
    folder = new_folder(small_disk.parent)
    elsewhere = small_disk.parent / ("c.npz" if where == "output" else "s.nc")
    output = small_disk / "s.nc" if where == "output" else elsewhere
    checkpoint = elsewhere if where == "output" else small_disk / "c.npz"
    words = [*folder.words[:3], str(output), "--checkpoint", str(checkpoint)]
    full, fills = (output if where == "output" else checkpoint), small_disk / "other"
    output.write_text("old")
    fills.write_bytes(bytes(60 * 1024))

    said = lines_of_failure(capsys, *words)[-1]
    assert f"{full}: cannot be written: " in said
    assert "No space left on device" in said
    assert output.read_text() == "old"
    assert {path.name for path in small_disk.iterdir()} == {"other"} | (
        {"s.nc"} if where == "output" else set()
    )
    assert checkpoint.exists() == (where == "output")

    fills.unlink()
    assert main(words) == 0
    assert ("resuming at step 600 of 600" in caplog.text) == (where == "output")
    assert_same_draws(output, whole / "samples.nc")


@pytest.fixture
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Makes a folder with an old output read-only: for root, who needs no permission, by a mount."""
    if os.getuid() == 0:
        folder: Path = request.getfixturevalue("small_disk")
    else:
        folder = tmp_path / "folder"
        folder.mkdir()
    (folder / "samples.nc").write_text("old")

    if os.getuid() == 0:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    else:
        folder.chmod(0o555)
    yield lambda: folder
    if os.getuid() != 0:
        folder.chmod(0o755)


def test_read_only_folder(
    read_only: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = new_folder(tmp_path / "run"), read_only() / "samples.nc"
    for missing in ("", "new/"):
        output = read_only() / f"{missing}samples.nc"
        words = [*folder.words[:3], str(output), *folder.words[4:]]
        said = lines_of_failure(capsys, *words)[-1]
        assert said.startswith(f"{output}: cannot be written: ")
        assert folder.checkpoint.exists()
    assert (read_only() / "samples.nc").read_text() == "old"
    assert len(list(read_only().iterdir())) == 1


def test_leftovers_of_killed_writers_go_with_the_next_write(tmp_path: Path) -> None:
    """Those of processes that run, and of other machines, stay."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path, here = tmp_path / "data.nc", platform.node()
    left = tmp_path / f".data.nc.{here}-{gone.pid}.part.nc"
    others = [
        tmp_path / f".data.nc.{here}-{os.getppid()}.part.nc",
        tmp_path / f".data.nc.elsewhere-{gone.pid}.part.nc",
        tmp_path / f".more-data.nc.{here}-{gone.pid}.part.nc",
    ]
    for file in (left, *others):
        file.touch()
    WRITERS["data.nc"](path)
    assert set(tmp_path.iterdir()) == {path, *others}


def test_a_checkpoint_in_writing_has_a_name_that_the_next_write_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chain killed then must leave no file that no later write removes."""
    seen: set[str] = set()
    savez = np.savez

    def look(*rest: Any, **arrays: Any) -> None:
        savez(*rest, **arrays)
        seen.update(path.name for path in tmp_path.iterdir())

    monkeypatch.setattr(np, "savez", look)
    write_checkpoint(tmp_path / "c.npz")
    assert seen == {f".c.npz.{platform.node()}-{os.getpid()}.part.npz"}
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_checkpoints_are_npz_files(tmp_path: Path) -> None:
    """Each precision, no numbers at all, a scalar, an array that is not contiguous; NumPy reads them."""
    arrays = {
        "bytes": np.arange(5, dtype=np.uint8),
        "single": np.random.default_rng(1).standard_normal((3, 2), dtype=np.float32),
        "double": np.arange(4.0).reshape(2, 2).T,
        "nothing": np.empty(0),
        "scalar": np.array(2.5),
    }
    path = tmp_path / "c.npz"
    save_checkpoint(path, "key", 3, arrays)
    found = load_checkpoint(path, "key")
    assert found is not None
    assert found[0] == 3
    for read in (found[1], np.load(path)):
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, strict=True)


# --- numbers that are none --------------------------------------------------------------------


def with_step(
    monkeypatch: pytest.MonkeyPatch, before: Callable[[int], None]
) -> Callable[[], Sampler[Any]]:
    """Have ``before`` called with the number of each step, before it; returns the sampler in use."""
    build: Any = chain.build_sampler
    used: list[Sampler[Any]] = []

    def built(*rest: Any) -> Any:
        target, sampler = build(*rest)
        step = sampler.step

        def stepped(state: Any, streams: Streams, number: int) -> Any:
            before(number)
            return step(state, streams, number)

        monkeypatch.setattr(sampler, "step", stepped)
        used.append(sampler)
        return target, sampler

    monkeypatch.setattr(chain, "build_sampler", built)
    return lambda: used[-1]


def erf(run: Run) -> Run:
    activation: ActivationName = "erf"
    architecture = run.architecture.model_copy(update={"activation": activation})
    return run.model_copy(update={"architecture": architecture})


@pytest.mark.parametrize("first", [30, 100])
@pytest.mark.parametrize(
    "run",
    [
        SHORT,
        kinetic_run(3.0, step_size=0.01, friction=4.0, burn_in=0.5, duration=1.0, draws=10),
        exact_run(3.0, warm_up=50, thinning=10, draws=10, leapfrog_steps=2),
        erf(exact_run(3.0, warm_up=50, thinning=10, draws=10, leapfrog_steps=2)),
    ],
    ids=["sgld", "underdamped", "exact", "exact-erf"],
)
def test_a_gradient_that_is_nan_ends_the_run_at_the_next_check(
    run: Run, first: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """From step ``first`` on, in chain 1: named with step and observable, nothing written."""
    folder = new_folder(tmp_path, run)
    now = 0

    def see(step: int) -> None:
        nonlocal now
        now = step

    method = with_step(monkeypatch, see)
    loss_gradient, gradient = langevin.loss_gradient, marginal.gradient
    compiled_step: Any = compiled.step

    def of_weights(*rest: object) -> langevin.LossGradient:
        found = loss_gradient(*rest)  # type: ignore[arg-type]
        if now >= first:
            found.delta[1] = torch.nan
        return found

    def of_activities(*rest: object) -> Tensor:
        found = gradient(*rest)  # type: ignore[arg-type]
        if now >= first:
            found[1] = torch.nan
        return found

    def of_velocities(*rest: Any) -> None:
        """The compiled step, its errors y - f of chain 1 not numbers."""
        *others, targets, supervised, variances, spreads, times = rest
        if now >= first:
            targets = targets.copy()
            targets[1] = np.nan
        compiled_step(*others, targets, supervised, variances, spreads, times)

    monkeypatch.setattr(langevin, "loss_gradient", of_weights)
    monkeypatch.setattr(compiled, "step", of_velocities)
    monkeypatch.setattr(marginal, "gradient", of_activities)
    capsys.readouterr()
    assert folder.sample("--checkpoint-seconds", "0") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    exact = isinstance(run.sampler, ExactSettings)
    what = "gradient is" if exact else "weights are"
    assert f"chain 1 diverged before {'trajectory' if exact else 'step'} " in said
    assert f"its {what} not finite; " in said
    step = int(said.split("before ")[1].split(":")[0].split()[1])
    assert first < step <= first + method().check_every
    assert not (folder / "samples.nc").exists()
    if not exact:
        # A rerun resumes from before: the weights were not kept once they had diverged.
        kept = load_checkpoint(folder.checkpoint, key_of(run))
        assert kept is not None
        assert kept[0] == first


def key_of(run: Run) -> str:
    task = run.tasks[0]
    return chain.fingerprint(single(run, task), torch.device("cpu"))


# --- devices ----------------------------------------------------------------------------------


def test_cuda_without_a_gpu_through_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = new_folder(tmp_path, SHORT.model_copy(update={"device": "cuda"}))
    capsys.readouterr()
    assert folder.sample() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("test/run: device: got 'cuda', but there is no GPU here")
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml", "task.nc"}


def test_reduced_precision_of_the_environment_is_turned_off(tmp_path: Path) -> None:
    """PyTorch takes TF32 for products of float32 matrices where the environment says so."""
    torch.set_float32_matmul_precision("high")
    try:
        assert new_folder(tmp_path).sample() == 0
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("AcceleratorError", "CUDA error: unspecified launch failure"),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
    ],
)
def test_a_gpu_lost_at_a_step(
    whole: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, says: str,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Simulated on the CPU: PyTorch's error at a step. The checkpoint stays, a rerun ends the same."""
    error: type[RuntimeError] = getattr(torch, kind, RuntimeError)

    def lose(step: int) -> None:
        if step == 50:
            raise error(
                f"{says}\nCompile with TORCH_USE_CUDA_DSA to enable device-side assertions."
            )

    folder = new_folder(tmp_path)
    capsys.readouterr()
    with monkeypatch.context() as patch:
        with_step(patch, lose)
        assert folder.sample("--checkpoint-seconds", "0") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"test/run: GPU failed at step 50: {says}; a rerun resumes at step 50"
    assert not (folder / "samples.nc").exists()
    assert folder.sample() == 0
    assert "resuming at step 50 of 600" in caplog.text
    assert_same_draws(folder / "samples.nc", whole / "samples.nc")


def test_a_gpu_without_room_for_the_first_state_and_other_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before there is a checkpoint a rerun starts anew; an error of the program is none of the GPU."""
    folder = new_folder(tmp_path)
    capsys.readouterr()

    def fail(*rest: object) -> None:
        raise RuntimeError(says)

    monkeypatch.setattr(chain, "begin", fail)
    says = "CUDA out of memory"
    assert folder.sample() == 1
    said = capsys.readouterr().err
    assert said == "test/run: GPU failed at step 0: CUDA out of memory; a rerun starts anew\n"
    says = "shapes do not match"
    with pytest.raises(RuntimeError, match="shapes do not match"):
        folder.sample()


# --- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_a_signal_ends_a_chain_with_its_checkpoint(
    whole: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, with_checkpoint: bool,
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """SIGTERM (time limit of a cluster) and SIGINT (Ctrl-C): one line; a rerun gives the same."""
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]

    def send(step: int) -> None:
        if step == 300:
            os.kill(os.getpid(), number)

    folder = new_folder(tmp_path)
    words = folder.words if with_checkpoint else folder.words[:4]
    with monkeypatch.context() as patch:
        with_step(patch, send)
        lines = lines_of_failure(capsys, *words)
    then = "a rerun resumes at step 301" if with_checkpoint else "a rerun starts anew"
    assert lines == [f"test/run: interrupted at step 301 of 600; {then}"]
    assert handlers == [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    assert not (folder / "samples.nc").exists()
    assert folder.checkpoint.exists() == with_checkpoint
    assert main(words) == 0
    assert ("resuming at step 301 of 600" in caplog.text) == with_checkpoint
    assert_same_draws(folder / "samples.nc", whole / "samples.nc")


def test_a_second_signal_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def send(step: int) -> None:
        if step == 300:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    folder = new_folder(tmp_path)
    capsys.readouterr()
    with_step(monkeypatch, send)
    assert folder.sample() == 130
    assert capsys.readouterr().err == "interrupted\n"


# --- two at a time ----------------------------------------------------------------------------


def test_two_samples_of_one_run_at_a_time_are_both_right(tmp_path: Path) -> None:
    """They share output and checkpoint: each may resume from the state of the other."""
    run = endpoint_run(3.0, burn_in=0.0, duration=2.0, draws=100)
    folder, alone = new_folder(tmp_path / "two", run), new_folder(tmp_path / "one", run)
    command = [sys.executable, "-m", "weightsharing", *folder.words, "--checkpoint-seconds", "0.1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    running = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, said = process.communicate()
        assert process.returncode == 0, said
    assert alone.sample() == 0
    assert_same_draws(folder / "samples.nc", alone / "samples.nc")
    assert not list(folder.path.glob(".*"))


def test_two_snakemakes_in_one_folder(tmp_path: Path) -> None:
    """The second is refused by Snakemake's lock, the first is unharmed."""
    folder = smoke_repository(tmp_path)
    target = "results/smoke/fig2/sgld-width16/task.nc"
    words = [sys.executable, "-m", "snakemake", "--cores", "1", target]
    first = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not list((folder / ".snakemake" / "locks").glob("*")):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Stop the first, so that it holds its lock until the second is refused.
        first.send_signal(signal.SIGSTOP)
        code, output = run_snakemake(folder, "--cores", "1", target)
        assert code != 0
        assert "cannot be locked" in output
    finally:
        first.send_signal(signal.SIGCONT)
        printed, _ = first.communicate()
    assert first.returncode == 0, printed.decode()
    run = storage.read_record((folder / target).with_name("run.yaml"), Run)
    assert storage.read_tasks(folder / target, run)
