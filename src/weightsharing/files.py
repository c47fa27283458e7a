"""Reading and writing NetCDF and YAML files: atomic, attributed, with damage named.

Files are written under a temporary name and renamed, so a killed job leaves no half file. Each carries
the SHA-256 of its content, which is checked before anything else is read: NetCDF as a last line, which
HDF5 ignores, YAML as a comment in its first line.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import xarray as xr
import yaml
from pydantic import ValidationError

from weightsharing import __version__
from weightsharing.errors import ConfigError, FileError
from weightsharing.model.axes import OUTPUT_AXES
from weightsharing.model.record import Record, explain
from weightsharing.model.tasks import Task

AnyRecord = TypeVar("AnyRecord", bound=Record)

# Where a joined dataset says which of its variables are the attributes of its members.
_ATTRIBUTES = "member_attributes"
_NETCDF_SEAL = b"\nsha256 "
_YAML_SEAL = "# sha256 "


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends without error.

    Raises FileError, naming ``path``, where the system does not let it be written: the disk is full, or
    the folder read-only. Then, and after any other error, ``path`` is as it was before.
    """
    writer = f"{platform.node()}-{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{writer}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in _abandoned(path):
            left.unlink(missing_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        # Has not been made where the folder is read-only.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _abandoned(path: Path) -> Iterator[Path]:
    """Temporary files of ``path`` whose writers were killed, on this machine."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part{glob.escape(path.suffix)}"):
        writer = left.name.removeprefix(f".{path.name}.").removesuffix(f".part{path.suffix}")
        machine, _, process = writer.rpartition("-")
        if machine == platform.node() and process.isdecimal() and not _runs(int(process)):
            yield left


def _runs(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """A record from a resolved YAML file. Raises FileError or ConfigError, naming the file.

    A file without a first line of SHA-256 is taken to be written by hand.
    """
    try:
        text = path.read_text()
        first, _, rest = text.partition("\n")
        if first.startswith(_YAML_SEAL) and first != f"{_YAML_SEAL}{_sha256(rest.encode())}":
            raise FileError(
                f"{path}: damaged or edited since it was written; delete it and run again, "
                "or its first line if the edit is meant"
            )
        settings = yaml.safe_load(text)
        return kind.model_validate_json(json.dumps(settings, default=str))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FileError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in explain(error))) from error


def write_record(record: Record, path: Path) -> None:
    """Write a record as YAML."""
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
    with replacing(path) as temporary:
        temporary.write_text(f"{_YAML_SEAL}{_sha256(text.encode())}\n{text}")


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


def write_dataset(dataset: xr.Dataset, path: Path, content: str, record: Record) -> None:
    """Write NetCDF with its provenance: content, resolved run, package version, git commit."""
    attributes = {
        "content": content,
        "run": record.model_dump_json(),
        "weightsharing_version": __version__,
        "git_commit": git_commit(),
    }
    # In memory first: HDF5 crashes where the disk is full.
    stored = dataset.assign_attrs(dataset.attrs | attributes).to_netcdf(engine="h5netcdf")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(stored)
        file.write(_NETCDF_SEAL + f"{_sha256(stored)}\n".encode())


def read_dataset(path: Path, content: str | tuple[str, ...]) -> xr.Dataset:
    """Read NetCDF into memory. Raises FileError if it is missing, damaged or of another content."""
    try:
        stored = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    whole, _, seal = stored.rpartition(_NETCDF_SEAL)
    if seal != f"{_sha256(whole)}\n".encode():
        raise FileError(f"{path}: damaged, or not written by this program; delete it and run again")
    with xr.open_dataset(io.BytesIO(whole), engine="h5netcdf") as opened:
        dataset = opened.load()
    found = dataset.attrs.get("content", "nothing known")
    allowed = (content,) if isinstance(content, str) else content
    if found not in allowed:
        raise FileError(f"{path}: holds {found}, not {' or '.join(allowed)}")
    return dataset


def join(datasets: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """The datasets of a run's members as one, along the axis "set"; without names, the only one as it is.

    Attributes become variables of the same name. Axes "point" are padded to the longest by NaN.
    """
    if not names:
        (dataset,) = datasets
        return dataset
    attributes = list(datasets[0].attrs)
    longest = max(dataset.sizes.get("point", 0) for dataset in datasets)
    padded = [
        dataset.drop_attrs().pad(point=(0, longest - dataset.sizes["point"]))
        if "point" in dataset.sizes
        else dataset.drop_attrs()
        for dataset in datasets
    ]
    joined = xr.concat(padded, dim="set", data_vars="all", coords="minimal", compat="override")
    for name in attributes:
        joined[name] = ("set", [dataset.attrs[name] for dataset in datasets])
    joined.attrs[_ATTRIBUTES] = " ".join(attributes)
    return joined.assign_coords(set=("set", list(names)))


def split(dataset: xr.Dataset) -> list[xr.Dataset]:
    """The datasets of a run's members: the inverse of ``join``."""
    if "set" not in dataset.sizes:
        return [dataset]
    common = dict(dataset.attrs)
    attributes = common.pop(_ATTRIBUTES).split()
    members = []
    for index in range(dataset.sizes["set"]):
        member = dataset.isel(set=index, drop=True)
        own = {name: member[name].item() for name in attributes}
        member = member.drop_vars(attributes)
        member.attrs = common | own
        if "point" in member.sizes:
            member = member.isel(point=np.flatnonzero(np.isfinite(member["action"])))
        members.append(member)
    return members


def task_dataset(task: Task) -> xr.Dataset:
    """A task as a dataset of named axes."""
    steps = task.steps
    return xr.Dataset(
        {
            "inputs": (("pattern", "time", "feature"), task.inputs),
            "targets": (OUTPUT_AXES, task.targets),
            "supervised": (OUTPUT_AXES, task.supervised.astype(np.int8)),
        },
        coords={"time": np.arange(steps), "output_time": np.arange(1, steps + 1)},
    )


def read_tasks(path: Path) -> list[Task]:
    """The tasks of a run's members. Raises FileError if the file is damaged or inconsistent."""
    try:
        return [
            Task(
                inputs=member["inputs"].to_numpy(),
                targets=member["targets"].to_numpy(),
                supervised=member["supervised"].to_numpy().astype(bool),
            )
            for member in split(read_dataset(path, "task"))
        ]
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: {error}") from error


def git_commit() -> str:
    """The commit of the source tree, with a + if it has changes, or "unknown"."""
    try:
        # Without locks: jobs that end at the same time must not get into each other's way, and one that
        # is killed must not leave the index locked.
        status = subprocess.run(
            [
                "git",
                "--no-optional-locks",
                "status",
                "--porcelain=v2",
                "--branch",
                "--untracked-files=no",
            ],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    (commit,) = (line.split()[2] for line in status if line.startswith("# branch.oid"))
    changed = any(not line.startswith("#") for line in status)
    return commit[:12] + ("+" if changed else "")
