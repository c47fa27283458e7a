"""The only reader and writer of results: NetCDF data and YAML records, atomic, sealed, attributed.

A file is written under a temporary name and renamed: a killed job leaves no half file. Each file carries
the SHA-256 of its content, which is checked before anything else is read. In NetCDF it is a last line,
which HDF5 ignores, in YAML a comment in the first line. A NetCDF file names its content and its run.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import yaml
from pydantic import TypeAdapter, ValidationError

from weightsharing.errors import ConfigError, FileError
from weightsharing.model.axes import OUTPUT_AXES
from weightsharing.model.condition import Condition
from weightsharing.model.record import Record, explain, listed, shortened
from weightsharing.model.task import Task
from weightsharing.origin import VERSION, git_commit
from weightsharing.strict_yaml import StrictError, parse

AnyRecord = TypeVar("AnyRecord", bound=Record)

# The attribute of a joined dataset that lists which variables were attributes of its members.
_ATTRIBUTES = "member_attributes"
_NETCDF_SEAL = b"\nsha256 "
_YAML_SEAL = "# sha256 "
# Runs that differ in their sampler alone share these.
_SHARED = ("task", "theory")


# --- writing ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place if the block ends without error.

    After an error ``path`` is as it was before. Raises FileError, naming ``path``, if the system refuses
    to write it, for example on a full disk or in a read-only folder.
    """
    writer = f"{platform.node()}-{os.getpid()}"
    temporary = path.with_name(f".{path.name}.{writer}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in _abandoned(path):
            leftover.unlink(missing_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        # In a read-only folder there is no temporary file.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _abandoned(path: Path) -> Iterator[Path]:
    """Temporary files of ``path`` whose writers, on this machine, were killed."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.part{glob.escape(path.suffix)}"):
        writer = leftover.name.removeprefix(f".{path.name}.").removesuffix(f".part{path.suffix}")
        machine, _, process = writer.rpartition("-")
        if machine == platform.node() and process.isdecimal() and not _is_running(int(process)):
            yield leftover


def _is_running(process: int) -> bool:
    """Whether there is a process of this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def write_record(record: Record, path: Path) -> None:
    """Write a record as sealed YAML."""
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
    with replacing(path) as temporary:
        temporary.write_text(f"{_YAML_SEAL}{_sha256(text.encode())}\n{text}")


def write_dataset(dataset: xr.Dataset, path: Path, content: str, record: Record) -> None:
    """Write sealed NetCDF with its content, run, package version and git commit as attributes."""
    attributes = {
        "content": content,
        "run": record.model_dump_json(),
        "weightsharing_version": VERSION,
        "git_commit": git_commit(),
    }
    # In memory first: HDF5 crashes on a full disk.
    stored = dataset.assign_attrs(dataset.attrs | attributes).to_netcdf(engine="h5netcdf")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(stored)
        file.write(_NETCDF_SEAL + f"{_sha256(stored)}\n".encode())


def write_members(
    members: Sequence[xr.Dataset], path: Path, content: str, condition: Condition
) -> None:
    """Write the datasets of a condition's members to one file."""
    write_dataset(join(members, condition.member_names), path, content, condition)


# --- reading ----------------------------------------------------------------------------------------


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """A record from a YAML file. Raises FileError or ConfigError, naming the file.

    A file without a seal counts as written by hand.
    """
    try:
        text = path.read_text()
        first, _, rest = text.partition("\n")
        if first.startswith(_YAML_SEAL) and first != f"{_YAML_SEAL}{_sha256(rest.encode())}":
            raise FileError(
                f"{path}: damaged or edited since it was written; delete it and run again, "
                "or delete its first line if you meant the edit"
            )
        settings = parse(text)
        _refuse_other_kind(path, settings, kind)
        return kind.model_validate_json(json.dumps(settings, default=str))
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not YAML: {error.reason}") from error
    except StrictError as error:
        raise FileError(*listed([f"{path}: {error}"])) from error
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in explain(error))) from error


def _refuse_other_kind(path: Path, settings: Any, kind: type[Record]) -> None:  # noqa: ANN401
    """Raises FileError for an empty file, and for a record of another kind than its reader wants."""
    if settings is None:
        raise FileError(f"{path}: is empty")
    stored = settings.get("kind") if isinstance(settings, dict) else None
    field = kind.model_fields.get("kind")
    if field is not None and stored is not None and stored != field.default:
        raise FileError(f"{path}: holds a {shortened(stored)}, not a {shortened(field.default)}")


def parse_record(text: str, kind: Any) -> Any:  # noqa: ANN401
    """A record, or one of a union of records, in JSON. Raises ConfigError, a line for each fault."""
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error


def read_dataset(
    path: Path, content: str | tuple[str, ...], condition: Condition | None = None
) -> xr.Dataset:
    """A NetCDF file of this content, or of one of several, in memory.

    Raises FileError if the file is missing, damaged, of another content, or of another condition than a
    given one. All samplers share a task or a theory; anything else belongs to one run.
    """
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
    stored_content = dataset.attrs.get("content", "nothing known")
    allowed = (content,) if isinstance(content, str) else content
    if stored_content not in allowed:
        raise FileError(f"{path}: holds {stored_content}, not {' or '.join(allowed)}")
    if condition is not None:
        _refuse_other_run(path, dataset, condition, stored_content)
    return dataset


def _refuse_other_run(path: Path, dataset: xr.Dataset, condition: Condition, content: str) -> None:
    wanted = condition.model_dump(mode="json")
    stored = json.loads(dataset.attrs["run"])
    keys = ("architecture", "kappa", "task") if content in _SHARED else tuple(wanted)
    for key in keys:
        if stored.get(key) != wanted[key]:
            raise FileError(
                f"{path}: {content} of another run, with {key} = {shortened(stored.get(key))}; "
                f"{condition.id} has {shortened(wanted[key])}"
            )


def read_members(path: Path, content: str, condition: Condition | None = None) -> list[xr.Dataset]:
    """The datasets of a condition's members. Raises FileError as ``read_dataset`` does."""
    return split(read_dataset(path, content, condition))


def read_tasks(path: Path, condition: Condition | None = None) -> list[Task]:
    """The tasks of a condition's members. Raises FileError if the file is damaged or inconsistent."""
    try:
        return [
            Task(
                inputs=member["inputs"].to_numpy(),
                targets=member["targets"].to_numpy(),
                supervised=member["supervised"].to_numpy().astype(bool),
            )
            for member in read_members(path, "task", condition)
        ]
    except (KeyError, ValueError) as error:
        raise FileError(f"{path}: {error}") from error


def _sha256(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()


# --- datasets ---------------------------------------------------------------------------------------


def join(datasets: Sequence[xr.Dataset], names: Sequence[str]) -> xr.Dataset:
    """The datasets of a family's members as one, along the axis "set"; without names, the only one.

    Attributes become variables of the same name. The axis "point" is padded to the longest by NaN.
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
    """The datasets of a family's members: the inverse of ``join``."""
    if "set" not in dataset.sizes:
        return [dataset]
    common = dict(dataset.attrs)
    attributes = common.pop(_ATTRIBUTES).split()
    members = []
    for index in range(dataset.sizes["set"]):
        member = dataset.isel(set=index, drop=True)
        values = {name: member[name].item() for name in attributes}
        member = member.drop_vars(attributes)
        member.attrs = common | values
        if "point" in member.sizes:
            member = member.isel(point=np.flatnonzero(np.isfinite(member["action"])))
        members.append(member)
    return members


def task_dataset(task: Task) -> xr.Dataset:
    """A task as a dataset of named axes."""
    return xr.Dataset(
        {
            "inputs": (("pattern", "time", "feature"), task.inputs),
            "targets": (OUTPUT_AXES, task.targets),
            "supervised": (OUTPUT_AXES, task.supervised.astype(np.int8)),
        },
        coords={"time": np.arange(task.steps), "output_time": np.arange(1, task.steps + 1)},
    )
