"""The command line: ``python -m weightsharing VERB ...``, one verb for each step of the pipeline.

A verb reads files, calls the library and writes files. Its imports stand inside it: drawing a figure
does not load PyTorch, and a rule of the workflow depends on its own verb alone (``code.code_hash``).
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import stat
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from weightsharing.errors import FileError, UserError
from weightsharing.origin import VERSION

if TYPE_CHECKING:
    import xarray as xr

    from weightsharing.model.axes import Array
    from weightsharing.sampling.run import Run


class Argument(NamedTuple):
    """The words of an argument and the options of ``ArgumentParser.add_argument``."""

    names: tuple[str, ...]
    options: dict[str, Any]


class Verb(NamedTuple):
    """A function of the parsed options, and the arguments that it takes."""

    execute: Callable[[Namespace], None]
    arguments: tuple[Argument, ...]


VERBS: dict[str, Verb] = {}


def argument(*names: str, **options: Any) -> Argument:  # noqa: ANN401
    """An argument, as ``ArgumentParser.add_argument`` takes it."""
    return Argument(names, options)


def count(text: str) -> int:
    """A whole number of at least 1. Raises ValueError for anything else."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def seconds(text: str) -> float:
    """A time of at least 0. Raises ValueError for anything else."""
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def path(*names: str, **options: Any) -> Argument:  # noqa: ANN401
    """An argument that is a path, or paths."""
    return Argument(names, {"type": Path, **options})


def verb(
    *arguments: Argument,
) -> Callable[[Callable[[Namespace], None]], Callable[[Namespace], None]]:
    """Register a function under its name."""

    def register(execute: Callable[[Namespace], None]) -> Callable[[Namespace], None]:
        VERBS[execute.__name__] = Verb(execute, arguments)
        return execute

    return register


RUN = path("run", help="run.yaml, written by `resolve`")
TASK = path("task", help="task, NetCDF")
TABLE = path("output", help="table of tab-separated values")
PAGE = path("--page", help="the same as HTML")
CONFIG = argument(
    "--config", nargs="+", required=True, type=lambda word: word if word[:1] == "{" else Path(word),
    help="config.yaml and presets over it, of which the results must be",
)  # fmt: skip
CODE = argument("--code", help="hash of the code, which the workflow gives; found if not given")
NAME = argument("name", help="name of the figure's folder, such as fig4")
RESULTS = path("--results", nargs="*", default=[], help="measures and transitions, NetCDF")


# --- configuration ----------------------------------------------------------------------------------


@verb(
    path("config", nargs="+", help="config.yaml and presets over it"),
    argument("--json", action="store_true", help="print the parameters of each run"),
)
def check(options: Namespace) -> None:
    """Validate a configuration and list its runs."""
    from weightsharing.config import load, runs, study_runs

    config = load(options.config)
    for run in [*runs(config).values(), *study_runs(config).values()]:
        print(run.model_dump_json() if options.json else run.id)


@verb()
def dictionary(options: Namespace) -> None:
    """Print what each variable of each file is, as a page."""
    from weightsharing.model.dictionary import page

    print(page(), end="")


@verb()
def schema(options: Namespace) -> None:
    """Print the JSON schema of the configuration."""
    import json

    from weightsharing.config import schema

    print(json.dumps(schema(), indent=2))


@verb(
    argument(
        "parameters", help="the run: JSON, as `check --json` prints it, or a file in YAML or JSON"
    ),
    path("output", help="YAML file to write"),
    path("--task", help="inputs and targets to write as well, NetCDF"),
    argument("--set", nargs="+", default=[], help="values to replace, such as sampler.width=64"),
    CODE,
)
def resolve(options: Namespace) -> None:
    """Write the YAML file of one run, and its task."""
    from typing import Annotated

    from pydantic import Field

    from weightsharing.errors import ConfigError
    from weightsharing.files import parse_record, task_dataset, write_members, write_record
    from weightsharing.model.tasks import FileTask
    from weightsharing.sampling.run import Run
    from weightsharing.theory.scan import Transition

    kinds = Annotated[Run | Transition, Field(discriminator="kind")]
    text = changed(options.parameters, options.set) if options.set else as_json(options.parameters)
    record: Run | Transition = parse_record(text, kinds)
    if isinstance(record, Run):
        if isinstance(record.task, FileTask):
            refuse_repeated(Namespace(**vars(options), data=Path(record.task.path)))
        record = record.sealed()
    if options.task is not None:
        if not isinstance(record, Run):
            raise ConfigError(f"{record.id}: a scan of the theory has no task")
        tasks = [task_dataset(task) for task in record.tasks]
        write_members(tasks, options.task, "task", record, code_of(options))
    write_record(record, options.output, code_of(options))


def as_json(parameters: str) -> str:
    """Parameters on a command line as JSON: they are JSON, or the path of a file in YAML or JSON.

    Raises FileError or ConfigError, naming the file.
    """
    import json

    from weightsharing.errors import ConfigError
    from weightsharing.strict_yaml import StrictError, parse

    if parameters.lstrip()[:1] == "{" or not _mode(parameters):
        return parameters
    try:
        return json.dumps(parse(Path(parameters).read_text("utf-8")), default=str)
    except OSError as error:
        raise FileError(f"{parameters}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{parameters}: not YAML: {error.reason}") from error
    except StrictError as error:
        raise ConfigError(f"{parameters}: {error}") from error


def changed(parameters: str, assignments: Sequence[str]) -> str:
    """Parameters as JSON with values replaced, KEY=VALUE with dots in KEY and VALUE in YAML.

    A last part of KEY that is not there is added; the record refuses it if it has no such key. Raises
    ConfigError for any other key that is not there, or a value that is no YAML.
    """
    import json

    from weightsharing.errors import ConfigError
    from weightsharing.strict_yaml import StrictError, parse

    try:
        tree = json.loads(as_json(parameters))
    except ValueError as error:
        raise ConfigError(f"parameters: not JSON: {error}") from error
    for assignment in assignments:
        key, separator, text = assignment.partition("=")
        *path, last = key.split(".")
        place = tree
        for name in path:
            place = place.get(name) if isinstance(place, dict) else None
        if not separator or not isinstance(place, dict):
            raise ConfigError(f"--set {assignment}: want KEY=VALUE with a key of the run")
        try:
            place[last] = parse(text)
        except StrictError as error:
            raise ConfigError(f"--set {assignment}: {error}") from error
    return json.dumps(tree, default=str)


# --- theory, samples, measures ----------------------------------------------------------------------


def code_of(options: Namespace, *modules: str) -> str:
    """The hash of the code behind a verb's result: of the verb, and of ``modules`` that it loads late."""
    from weightsharing.code import code_hash

    return options.code or code_hash(f"weightsharing.cli:{options.verb}", *modules)


@verb(RUN, TASK, path("output", help="stationary points, NetCDF"), CODE)
def theory(options: Namespace) -> None:
    """Solve the kernel theory of a run."""
    from weightsharing.errors import ConfigError
    from weightsharing.files import read_record, read_tasks, write_members
    from weightsharing.model.condition import Condition
    from weightsharing.theory.solve import solve

    condition = read_record(options.run, Condition)
    points = []
    for member, task in zip(condition.members, read_tasks(options.task, condition), strict=True):
        try:
            points.append(solve(task, member.architecture, member.kappa))
        except ConfigError as error:
            raise ConfigError(f"{member.id}: {error}") from error
    write_members(points, options.output, "theory", condition, code_of(options))


@verb(
    path("run", help="resolved scan, YAML"),
    path("output", help="branches and Landau curves, NetCDF"),
    CODE,
)
def transition(options: Namespace) -> None:
    """Scan the theory of one depth over the signal strength."""
    from weightsharing.files import read_record, write_dataset
    from weightsharing.theory.curves import scan
    from weightsharing.theory.scan import Transition

    parameters = read_record(options.run, Transition)
    write_dataset(scan(parameters), options.output, "transition", parameters, code_of(options))


@verb(
    RUN,
    TASK,
    path("output", help="samples, NetCDF"),
    path("--theory", help="needed if the run does not start at the prior"),
    path("--checkpoint", help="file to resume from and to keep up to date"),
    argument("--checkpoint-seconds", type=seconds, default=60.0, help="default: 60"),
    argument("--threads", type=count, default=1, help="CPU threads (default: 1)"),
    CODE,
)
def sample(options: Namespace) -> None:
    """Sample the networks of a run: train them, or draw from the exact sampler."""
    import torch

    from weightsharing.files import read_record, read_tasks, write_members
    from weightsharing.sampling import algorithm
    from weightsharing.sampling.chain import sample
    from weightsharing.sampling.run import Run
    from weightsharing.terminal import progress, stop_signals

    torch.set_num_threads(options.threads)
    # Some containers turn on TF32, which rounds to three digits.
    torch.set_float32_matmul_precision("highest")
    run = read_record(options.run, Run)
    with stop_signals() as stopping:
        draws = sample(
            run,
            read_tasks(options.task, run),
            read_starts(run, options.theory),
            checkpoint=options.checkpoint,
            checkpoint_seconds=options.checkpoint_seconds,
            progress=progress,
            stopping=stopping,
        )
    code = code_of(options, algorithm(run.sampler))
    write_members(draws, options.output, "samples", run, code)


def read_starts(run: Run, theory: Path | None) -> list[Array | None]:
    """For each member of a run, H of its first activities; None for a start from the prior.

    Raises FileError if the theory is needed and missing, or belongs to another run, needed or not.
    """
    from weightsharing.files import read_members
    from weightsharing.sampling.initial import start_kernel

    start = run.sampler.start
    members = [] if theory is None else read_members(theory, "theory", run)
    if start == "prior":
        return [None] * len(run.members)
    if theory is None:
        raise FileError(f"--theory: missing; start is {start!r}, which is read from there")
    return [start_kernel(start, points) for points in members]


@verb(
    RUN,
    path("samples", help="samples, NetCDF"),
    path("output", help="weights, safetensors"),
)
def weights(options: Namespace) -> None:
    """Export the weights that a run kept, as named tensors."""
    from weightsharing.files import read_members, read_record, write_weights
    from weightsharing.sampling.run import Run

    run = read_record(options.run, Run)
    members = read_members(options.samples, "samples", run)
    known = {name: str(members[0].attrs.get(name, "")) for name in ("code", "git_commit")}
    try:
        write_weights(
            members, run.member_names, options.output, {"run": run.model_dump_json(), **known}
        )
    except FileError as error:
        raise FileError(f"{options.samples}: {error}") from error


@verb(
    RUN,
    TASK,
    path("samples", help="samples, NetCDF"),
    path("output", help="measures, NetCDF"),
    path("--theory", help="stationary points, NetCDF, if there are any"),
    path("--checkpoint", help="that of `sample`, which is removed when the measures are there"),
    CODE,
)
def measure(options: Namespace) -> None:
    """Compare theory and samples of a run."""
    from weightsharing.files import owner_of, read_members, read_record, read_tasks, write_members
    from weightsharing.measures.compare import compare
    from weightsharing.sampling.checkpoint import refuse_foreign, remove_checkpoints
    from weightsharing.sampling.run import Run

    if options.checkpoint is not None:
        refuse_foreign(options.checkpoint)

    run = read_record(options.run, Run)
    tasks = read_tasks(options.task, run)
    samples = read_members(options.samples, "samples", run)
    theories: Sequence[xr.Dataset | None] = [None] * len(tasks)
    solved_for = ""
    if options.theory is not None:
        theories = read_members(options.theory, "theory", run)
        solved_for = owner_of(theories[0])
    members = zip(run.members, tasks, theories, samples, strict=True)
    measures = [compare(*member) for member in members]
    write_members(measures, options.output, "measures", run, code_of(options), theory=solved_for)
    if options.checkpoint is not None:
        remove_checkpoints(run, options.checkpoint)


# --- figures and tables -----------------------------------------------------------------------------


@verb(
    NAME,
    path("output", nargs="+", help="file to write, such as fig4.pdf"),
    CONFIG,
    RESULTS,
    CODE,
)
def figure(options: Namespace) -> None:
    """Draw a figure."""
    from weightsharing.config import given, part, runs
    from weightsharing.figures.registry import find
    from weightsharing.figures.results import read_results
    from weightsharing.figures.style import save
    from weightsharing.identity import identity

    chosen = find(options.name)
    config = part(given(options.config), chosen.name)
    results = read_results(options.results, runs(config), complete=True)
    code = code_of(options, f"weightsharing.figures.{chosen.name}.plot")
    belongs = f"preset {config.preset}, {identity('figure', config, code)}"
    drawn = chosen.module("plot").draw(results, config.section(chosen.name), config.preset)
    save(drawn, *options.output, belongs=belongs)


@verb(
    NAME,
    path("output", help="reStructuredText"),
    path("--text", help="the same as plain text, formulas in dollars"),
    CONFIG,
    RESULTS,
    CODE,
)
def caption(options: Namespace) -> None:
    """Write the caption of a figure, with the claims that do not pass."""
    from weightsharing.config import given, part, runs
    from weightsharing.figures.captions import caption, plain
    from weightsharing.figures.registry import find
    from weightsharing.figures.results import read_results
    from weightsharing.figures.scorecard import claims_of
    from weightsharing.files import replacing
    from weightsharing.identity import identity

    chosen = find(options.name)
    config = part(given(options.config), chosen.name)
    results = read_results(options.results, runs(config), complete=True)
    claims = claims_of(chosen, results)
    code = code_of(options, f"weightsharing.figures.{chosen.name}.claims")
    text = caption(chosen, config.section(chosen.name), config.seed, results, claims)
    belongs = f"preset {config.preset}, {identity('caption', config, code)}"
    with replacing(options.output) as temporary:
        temporary.write_text(f"{text}\n.. {belongs}\n", "utf-8")
    if options.text is not None:
        with replacing(options.text) as temporary:
            temporary.write_text(f"{plain(text)}\n% {belongs}\n", "utf-8")


@verb(
    argument("name", help="name of the study"),
    path("output", help="theory and measures, NetCDF"),
    path("--table", help="the same as comma-separated values"),
    path("--figure", nargs="+", default=[], help="pictures to draw, such as NAME.pdf"),
    CONFIG,
    RESULTS,
    argument("--threads", type=count, default=1, help="processes that solve (default: 1)"),
    CODE,
)
def study(options: Namespace) -> None:
    """Solve the theory of a study, collect its measures and draw it."""
    from weightsharing.config import given, study_part, study_runs
    from weightsharing.figures.results import read_results
    from weightsharing.figures.style import save
    from weightsharing.files import replacing, write_dataset
    from weightsharing.identity import identity
    from weightsharing.studies.collect import solve_study, table, with_measures
    from weightsharing.studies.plot import draw
    from weightsharing.terminal import progress

    config = study_part(given(options.config), options.name)
    chosen, wanted = config.studies[options.name], study_runs(config)
    results = {run.name: run for run in read_results(options.results, wanted, complete=True).runs}
    theory = solve_study(options.name, chosen, options.threads, progress(f"studies/{options.name}"))
    dataset = with_measures(theory, chosen, [results[name] for name in wanted])
    code = code_of(options)
    write_dataset(dataset, options.output, "study", config, code)
    if options.table is not None:
        with replacing(options.table) as temporary:
            table(dataset).to_csv(temporary, index=False)
    belongs = f"preset {config.preset}, {identity('study', config, code)}"
    if options.figure:
        save(draw(dataset, chosen), *options.figure, belongs=belongs)


@verb(
    path("output", help="page, HTML"),
    CONFIG,
    RESULTS,
    path("--figures", nargs="+", required=True, help="pictures, such as figures/fig4.png"),
    path("--captions", nargs="+", required=True, help="captions, such as figures/fig4.rst"),
    CODE,
)
def review(options: Namespace) -> None:
    """Write one page with all figures, captions, claims and runs."""
    from datetime import UTC, datetime

    from weightsharing.config import given, runs
    from weightsharing.errors import ConfigError
    from weightsharing.figures.registry import FIGURES, find
    from weightsharing.figures.results import read_results
    from weightsharing.figures.scorecard import scorecard
    from weightsharing.figures.tables import write_page
    from weightsharing.files import read_bytes
    from weightsharing.identity import identity
    from weightsharing.review.page import page

    for kind in (options.figures, options.captions):
        names = [find(path.stem).name for path in kind]
        if sorted(names) != sorted({path.stem for path in options.figures}):
            raise ConfigError(
                "--figures, --captions: want one picture and one caption of each figure"
            )
    config = given(options.config)
    results = read_results(options.results, runs(config), complete=True)
    pictures = {find(path.stem).name: read_bytes(path) for path in options.figures}
    captions = {find(path.stem).name: read_bytes(path).decode() for path in options.captions}
    code = code_of(options, *(f"weightsharing.figures.{name}.claims" for name in FIGURES))
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    text = page(config.preset, config.seed, results, scorecard(results), pictures, captions, date)
    write_page(text, options.output, str(identity("review", config, code)))


@verb(
    path("output", help="page, HTML"),
    argument("--threads", type=count, default=1, help="processes that solve (default: 1)"),
    CODE,
)
def explore(options: Namespace) -> None:
    """Write a page with sliders: the theory of the endpoint task over a grid."""
    from weightsharing.figures.tables import write_page
    from weightsharing.review.explore import page, solve_grid
    from weightsharing.terminal import progress

    slices = solve_grid(options.threads, progress("explore"))
    write_page(page(slices), options.output, f"code {code_of(options)}")


@verb(TABLE, PAGE, CONFIG, RESULTS, CODE)
def scorecard(options: Namespace) -> None:
    """Judge every claim of the captions, with the results that exist."""
    from weightsharing.config import given, runs
    from weightsharing.figures.registry import FIGURES
    from weightsharing.figures.results import read_results
    from weightsharing.figures.scorecard import page, scorecard, table
    from weightsharing.figures.tables import write_page, write_table
    from weightsharing.identity import identity

    config = given(options.config)
    claims = scorecard(read_results(options.results, runs(config)))
    write_table(table(claims), options.output)
    if options.page is not None:
        code = code_of(options, *(f"weightsharing.figures.{name}.claims" for name in FIGURES))
        write_page(page(claims), options.page, str(identity("scorecard", config, code)))


@verb(TABLE, PAGE, CONFIG, RESULTS, CODE)
def runs(options: Namespace) -> None:
    """List every run with its sampler, diagnostics, wall time and commit."""
    from weightsharing.config import given, runs
    from weightsharing.figures.listing import page, table
    from weightsharing.figures.results import read_results
    from weightsharing.figures.tables import write_page, write_table
    from weightsharing.identity import identity

    config = given(options.config)
    listing = table(read_results(options.results, runs(config)))
    write_table(listing, options.output)
    if options.page is not None:
        belongs = identity("runs", config, code_of(options))
        write_page(page(listing), options.page, str(belongs))


@verb(
    path("output", help="zip archive"),
    path("files", nargs="+", help="kept under their relative paths"),
)
def archive(options: Namespace) -> None:
    """Pack files into one zip archive."""
    from weightsharing.figures.archive import write_archive

    write_archive(options.files, options.output)


@verb(path("folder", help="folder of Snakemake's benchmarks, benchmarks/<preset>"))
def costs(options: Namespace) -> None:
    """Print the time and memory of each figure."""
    from weightsharing.figures.costs import costs, table

    print(table(costs(options.folder)))


def _mode(path: str) -> int:
    """The type of a file and its permissions, 0 if there is none."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - the string may be too long for a path
    except OSError:
        return 0


def refuse_repeated(options: Namespace) -> None:
    """Raise FileError if a file is given twice: it would be counted twice, or read and replaced."""
    given: set[str] = set()
    for value in vars(options).values():
        for path in value if isinstance(value, list) else [value]:
            if not isinstance(path, Path):
                continue
            real = os.path.realpath(path)  # also of loops, and of names of any length
            if stat.S_ISCHR(_mode(real)):  # a device such as /dev/null
                continue
            if real in given:
                raise FileError(f"{path}: given twice; want different files")
            given.add(real)


def guarded(execute: Callable[[], None]) -> int:
    """Run a command. Returns 0, or 1 after printing one line for each fault, or 130 after Ctrl-C.

    A reader of its output that has enough, such as `head`, is no fault.
    """
    try:
        try:
            execute()
        except SystemExit:  # of argparse, which may have printed its help
            _flush()
            raise
        _flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        # Files have errors of their own: this is the standard output.
        if error.errno not in (errno.EPIPE, errno.ENOSPC) or error.filename is not None:
            raise
        # Python flushes once more at its end, and must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            return 0
        print(f"output: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb, as ``guarded`` does."""
    # A notebook sets it for its own process. Matplotlib refuses a backend that is not installed here.
    os.environ.pop("MPLBACKEND", None)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("weightsharing").setLevel(logging.INFO)
    return guarded(lambda: _execute(words))


def _execute(words: Sequence[str] | None) -> None:
    if sys.flags.optimize > 1:
        raise UserError("python -OO, PYTHONOPTIMIZE=2: ArviZ needs its docstrings; use -O at most")
    parser = argparse.ArgumentParser(
        prog="python -m weightsharing",
        description="Kernel theory and Langevin training of RNNs and DNNs.",
        epilog="`python -m weightsharing VERB --help` explains a verb.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (execute, arguments) in VERBS.items():
        summary = str(execute.__doc__).rstrip(".")
        subparser = verbs.add_parser(name, help=summary, description=summary)
        for names, options in arguments:
            subparser.add_argument(*names, **options)
    chosen = parser.parse_args(words)
    refuse_repeated(chosen)
    VERBS[chosen.verb].execute(chosen)
