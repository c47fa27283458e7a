"""The only reader and writer of results: NetCDF data and YAML records, atomic, sealed, attributed.

A file is written under a temporary name and renamed: a killed job leaves no half file. Each file carries
a seal: the SHA-256 of its content, checked before anything else is read, and its ``identity``. In NetCDF
the seal is a last line, which HDF5 ignores, in YAML a comment in the first line. A NetCDF file names its
content and its run; ``read_dataset`` asks its caller for both.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr
import yaml
from pydantic import TypeAdapter, ValidationError

from weightsharing.errors import ConfigError, FileError
from weightsharing.identity import Identity, difference, identity
from weightsharing.model.axes import OUTPUT_AXES, output_axes
from weightsharing.model.condition import Condition
from weightsharing.model.dictionary import described
from weightsharing.model.record import Record, explain, listed, shortened
from weightsharing.model.task import Task
from weightsharing.origin import VERSION, git_commit
from weightsharing.strict_yaml import StrictError, parse

AnyRecord = TypeVar("AnyRecord", bound=Record)

# The attribute of a joined dataset that lists which variables were attributes of its members.
_ATTRIBUTES = "member_attributes"
_NETCDF_SEAL = b"\nsha256 "
_YAML_SEAL = "# sha256 "


# --- writing ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place if the block ends without error.

    After an error ``path`` is as it was before. A link keeps its name, and a device such as
    /dev/full is written to. Raises FileError, naming ``path``, if the system refuses to write it: on a
    full disk, or in a read-only folder.
    """
    try:
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        if path.is_symlink():
            raise FileError(f"{path}: cannot be written: a link to itself")
        to_device = path.exists() and not path.is_file()
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error
    if to_device:
        yield from _written_to_device(path)
        return
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


def _written_to_device(path: Path) -> Iterator[Path]:
    """A temporary path whose content goes to a device or a pipe if the block ends without error."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / "content"
            yield temporary
            with temporary.open("rb") as content, path.open("wb") as device:
                shutil.copyfileobj(content, device)
    except OSError as error:
        raise FileError(f"{path}: cannot be written: {error.strerror or error}") from error


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


def read_bytes(path: Path) -> bytes:
    """The content of any file. Raises FileError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error


def write_record(record: Record, path: Path, code: str = "") -> None:
    """Write a record as sealed YAML. code: hash of the code that made it."""
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False)
    seal = _seal(text.encode(), identity("run", record, code))
    with replacing(path) as temporary:
        temporary.write_text(f"{_YAML_SEAL}{seal}\n{text}", "utf-8")


def write_dataset(
    dataset: xr.Dataset, path: Path, content: str, record: Record, code: str = ""
) -> None:
    """Write sealed NetCDF with its content, run, code, version and git commit as attributes.

    code: hash of the code that made it.
    """
    attributes = {
        "content": content,
        "run": record.model_dump_json(),
        "code": code,
        "weightsharing_version": VERSION,
        "git_commit": git_commit(),
    }
    complete = described(dataset).assign_attrs(dataset.attrs | attributes)
    complete.attrs["layout"] = _layout(complete)
    # In memory first: HDF5 crashes on a full disk. From Python 3.13 on, the view of it must be released.
    with (
        complete.to_netcdf(engine="h5netcdf") as stored,
        replacing(path) as temporary,
        temporary.open("wb") as file,
    ):
        file.write(stored)
        file.write(_NETCDF_SEAL + f"{_seal(stored, identity(content, record, code))}\n".encode())


def write_members(
    members: Sequence[xr.Dataset], path: Path, content: str, condition: Condition, code: str = "",
    **attributes: str,
) -> None:  # fmt: skip
    """Write the datasets of a condition's members to one file, with attributes that they share."""
    joined = join(members, condition.member_names).assign_attrs(attributes)
    write_dataset(joined, path, content, condition, code)


def write_weights(
    members: Sequence[xr.Dataset], names: Sequence[str], path: Path, metadata: Mapping[str, str]
) -> None:
    """Write the kept weights as named tensors, by safetensors: what ``load_file`` reads in one line.

    Names are recurrent (chain, kept, matrix, unit, unit_), input_weights (chain, kept, unit, feature),
    readout (chain, kept, unit) and kept_draw (kept), the index of each draw, behind the member's name and
    a slash if ``names`` has any. Raises FileError if no weights were kept.
    """
    from safetensors.numpy import save

    prefixes = [f"{name}/" for name in names] or [""]
    tensors = {
        prefix + name: np.ascontiguousarray(data[name])
        for prefix, data in zip(prefixes, members, strict=True)
        for name in ("recurrent", "input_weights", "readout", "kept_draw")
        if name in data.variables
    }
    if not any(name.endswith("recurrent") for name in tensors):
        raise FileError("no weights were kept: keep_weights is 0 in this run")
    stored = save(tensors, metadata=dict(metadata))
    with replacing(path) as temporary:
        temporary.write_bytes(stored)


# --- reading ----------------------------------------------------------------------------------------


def read_record(path: Path, kind: type[AnyRecord]) -> AnyRecord:
    """A record from a YAML file. Raises FileError or ConfigError, naming the file.

    A file without a seal counts as written by hand.
    """
    try:
        text = path.read_text("utf-8")
        first, _, rest = text.partition("\n")
        if first.startswith(_YAML_SEAL) and not _holds(
            first.removeprefix(_YAML_SEAL), rest.encode()
        ):
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
    path: Path, content: str | tuple[str, ...], owner: Record | Mapping[str, Record]
) -> xr.Dataset:
    """A NetCDF file of this content, or of one of several, in memory.

    owner: the run that the file must belong to, or all runs by id, one of which it must belong to. All
    samplers share a task or a theory; anything else belongs to one run. Raises FileError if the file is
    missing, damaged, of another content or of another run.
    """
    try:
        stored = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    whole, _, seal = stored.rpartition(_NETCDF_SEAL)
    if not (seal.endswith(b"\n") and _holds(seal[:-1].decode(errors="replace"), whole)):
        raise FileError(
            f"{path}: damaged, or not written by this program; if it should be a result, delete it and "
            "run again"
        )
    with xr.open_dataset(io.BytesIO(whole), engine="h5netcdf") as opened:
        dataset = opened.load()
    if dataset.attrs.pop("layout", None) != _layout(dataset):
        raise FileError(f"{path}: written by another version or program; delete it and run again")
    stored_content = str(dataset.attrs["content"])
    allowed = (content,) if isinstance(content, str) else content
    if stored_content not in allowed:
        raise FileError(f"{path}: holds {stored_content}, not {' or '.join(allowed)}")
    belongs = owner if isinstance(owner, Record) else owner.get(owner_of(dataset))
    if belongs is None:
        raise FileError(
            f"{path}: {stored_content} of {owner_of(dataset)}, which the configuration does not have"
        )
    fault = difference(stored_content, belongs, _parameters(dataset.attrs["run"]))
    if fault is not None:
        raise FileError(f"{path}: {stored_content} of another run, with {fault}")
    return dataset


def owner_of(dataset: xr.Dataset) -> str:
    """The id of the run that a file was made for, as in "fig4/rnn-depth4"."""
    return str(_parameters(dataset.attrs["run"]).get("id", "an unknown run"))


def _layout(dataset: xr.Dataset) -> str:
    """A hash of names, axes, sizes and types of all variables, and of the names of all attributes.

    Verbs rely on them, whatever a program that knows the seal has done to a file.
    """
    variables = [
        (str(name), variable.dims, variable.shape, "text" if variable.dtype.kind in "OUST" else "")
        for name, variable in dataset.variables.items()
    ]
    return _sha256(repr((sorted(variables), sorted(map(str, dataset.attrs)))).encode())


def _parameters(text: object) -> dict[str, Any]:
    """Parameters in JSON; none if the text is something else."""
    try:
        parameters = json.loads(str(text))
    except ValueError:
        return {}
    return parameters if isinstance(parameters, dict) else {}


def read_members(path: Path, content: str, condition: Condition) -> list[xr.Dataset]:
    """The datasets of a condition's members. Raises FileError as ``read_dataset`` does."""
    return split(read_dataset(path, content, condition))


def read_tasks(path: Path, condition: Condition) -> list[Task]:
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


def _seal(content: bytes | memoryview, belongs: Identity | str) -> str:
    """The seal of a content and of the identity behind it."""
    return f"{_sha256(content, str(belongs).encode())} {belongs}"


def _sha256(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _holds(seal: str, content: bytes) -> bool:
    """Whether a seal is that of this content."""
    return seal == _seal(content, seal.partition(" ")[2])


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
            "targets": (output_axes(task.targets), task.targets),
            "supervised": (OUTPUT_AXES, task.supervised.astype(np.int8)),
        },
        coords={"time": np.arange(task.steps), "output_time": np.arange(1, task.steps + 1)},
    )
