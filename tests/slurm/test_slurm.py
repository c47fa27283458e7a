"""The workflow on a real Slurm of one node, which these tests start and stop: `make test-slurm`.

Jobs use the shipped profile, with earlier polling. The draws must not depend on Slurm: tests compare
them bit by bit with those of commands run without it.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import xarray as xr
from conftest import ROOT
from test_workflow import FIGURES, configure, planned, smoke_repository, snakemake

from weightsharing.config import load, runs
from weightsharing.sampling.chain import sample
from weightsharing.sampling.run import Run
from weightsharing.sampling.settings import DynamicsSettings

SCRIPT = ROOT / "tests" / "slurm" / "cluster.sh"
PROFILE = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2"]

# The family of figure 5's RNNs: a chain of seven members, each with its own checkpoint.
FAMILY = "fig5/rnn"
LONG = f"results/smoke/{FAMILY}/samples.nc"
# Three runs that take seconds and need no theory.
SHORT = [
    f"results/smoke/{run}/samples.nc"
    for run in ("fig3/rnn-weak", "fig3/dnn-weak", "fig2/exact-width16")
]
# Seconds after which a test counts as hanging. Nothing else here depends on the clock.
PATIENCE = 1800.0
# Seconds. Slurm ends a job at most half a minute after its time limit of one minute.
LONGER_THAN_A_MINUTE = 100.0
# Seconds of processor time. Orphans continue while a second Snakemake starts and is refused. This takes
# half a minute on a busy machine.
LONG_ENOUGH_TO_INTERRUPT = 90.0


# All Snakemake processes that these tests started.
STARTED: list[subprocess.Popen[str]] = []


@dataclass(frozen=True)
class SlurmJob:
    """Slurm's record of a job: state, purpose (Snakemake's comment) and requested resources.

    minutes: time limit. gpus: number of GPUs.
    """

    state: str
    comment: str
    folder: str
    minutes: int
    cpus: int
    gpus: int


@dataclass(frozen=True)
class Workflow:
    """A Snakemake process in a copy of the repository, and its output."""

    repository: Path
    process: subprocess.Popen[str]
    output: Path

    @property
    def text(self) -> str:
        """The output so far."""
        return self.output.read_text()

    def succeeds(self) -> str:
        """Wait for the end, assert success, and return the output."""
        code = self.process.wait(PATIENCE)
        assert code == 0, self.text
        return self.text


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[None]:
    """A running Slurm, whose commands are first in PATH."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    path = os.environ["PATH"]
    try:
        subprocess.run([SCRIPT, "up", folder], check=True)
        os.environ["PATH"] = f"{folder / 'bin'}:{path}"
        yield
    finally:
        # After an interrupted test, its Snakemake would continue to submit to the Slurm that stops.
        for process in STARTED:
            process.kill()
        os.environ["PATH"] = path
        subprocess.run([SCRIPT, "down", folder], check=True)


def submit(repository: Path, *words: str) -> Workflow:
    """Start Snakemake with the profile, as a user does."""
    output = repository / f"snakemake{len(list(repository.glob('snakemake*.txt')))}.txt"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with output.open("w") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *words, *PROFILE],
            cwd=repository, env=environment, stdout=printed, stderr=printed, text=True,
        )  # fmt: skip
    STARTED.append(process)
    return Workflow(repository, process, output)


def wait_until(condition: Callable[[], object], workflow: Workflow | None = None) -> None:
    """Wait for a condition. Fail if the workflow, if given, ends before."""
    started = time.monotonic()
    while not condition():
        if workflow is not None:
            assert workflow.process.poll() is None, workflow.text
        assert time.monotonic() - started < PATIENCE, "" if workflow is None else workflow.text
        time.sleep(0.2)


def slurm_jobs(repository: Path, *, alive: bool = False) -> list[SlurmJob]:
    """The jobs of a repository in the order of their numbers; alive: only those that have not ended."""
    done = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True
    )
    jobs = []
    for line in done.stdout.splitlines():
        said = dict(re.findall(r"([\w/:]+)=(\S*)", line))
        if said.get("WorkDir") != str(repository):
            continue
        limit = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):00", said["TimeLimit"])
        assert limit, line
        days, hours, minutes = (int(part or 0) for part in limit.groups())
        gpus = re.search(r"gpu:(\d+)", said.get("TresPerJob", ""))
        jobs.append(
            SlurmJob(
                state=said["JobState"],
                comment=said["Comment"],
                folder=said["WorkDir"],
                minutes=(24 * days + hours) * 60 + minutes,
                cpus=int(said["NumCPUs"]),
                gpus=int(gpus[1]) if gpus else 0,
            )
        )
    if alive:
        return [job for job in jobs if job.state in ("PENDING", "RUNNING", "COMPLETING")]
    return jobs


def chains(repository: Path) -> list[SlurmJob]:
    """The jobs that run chains."""
    return [job for job in slurm_jobs(repository) if "sample" in job.comment]


def seconds_per_step(member: Run) -> float:
    """Processor time of one step of a member of the family, on an idle machine."""
    assert isinstance(member.sampler, DynamicsSettings)
    steps = 4000
    burn_in = (steps - member.sampler.draws) * member.sampler.step_size
    duration = member.sampler.draws * member.sampler.step_size
    settings = {"start": "prior", "burn_in": burn_in, "duration": duration}
    member = member.model_copy(update={"sampler": member.sampler.model_copy(update=settings)})
    task = member.tasks[0]
    used = []
    for _ in range(3):
        started = time.process_time()
        sample(member, [task])
        used.append(time.process_time() - started)
    return min(used) / steps


@pytest.fixture(scope="session")
def copy_with_a_long_family(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[float], Path]:
    """A function that makes a repository whose family of chains takes given processor seconds."""
    run = runs(load([ROOT / "config.yaml", ROOT / "workflow/presets/smoke.yaml"]))[FAMILY]
    assert isinstance(run, Run)
    settings = run.sampler
    assert isinstance(settings, DynamicsSettings)
    step = seconds_per_step(run.members[0])

    def copy(seconds: float) -> Path:
        repository = smoke_repository(tmp_path_factory.mktemp("long"))
        between = math.ceil(seconds / step / len(run.members) / settings.draws)
        duration = between * settings.draws * settings.step_size
        configure(repository, "fig5.trained.rnn.duration", duration)
        return repository

    return copy


@pytest.fixture(scope="session")
def over_its_limit(copy_with_a_long_family: Callable[[float], Path]) -> Iterator[Workflow]:
    """A chain that first exceeds its time limit. It runs beside the other tests."""
    repository = copy_with_a_long_family(LONGER_THAN_A_MINUTE)
    workflow = submit(
        repository, LONG,
        "--retries", "6", "--set-resources", "sample:runtime=attempt", "sample:gpu=1",
    )  # fmt: skip
    yield workflow
    workflow.process.kill()
    workflow.process.wait()


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, over_its_limit: Workflow) -> Workflow:
    """The whole smoke preset, through Slurm."""
    workflow = submit(smoke_repository(tmp_path_factory.mktemp("smoke")))
    workflow.succeeds()
    return workflow


def test_all_figures_are_made_through_slurm(smoke: Workflow) -> None:
    for name in FIGURES:
        assert (smoke.repository / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert planned(smoke.repository) == Counter()
    jobs = slurm_jobs(smoke.repository)
    assert {job.state for job in jobs} == {"COMPLETED"}
    # A chain and its measures are one job. Rules that cost less than a job are not submitted.
    rules = Counter(re.sub("_wildcards_.*", "", job.comment) for job in jobs)
    samples = list((smoke.repository / "results").rglob("samples.nc"))
    scans = list((smoke.repository / "results").rglob("transition.nc"))
    theories = list((smoke.repository / "results").rglob("theory.nc"))
    assert len(chains(smoke.repository)) == len(samples) > 0
    assert rules.pop("rule_theory") == len(theories) > 0
    assert rules.pop("rule_transition") == len(scans) > 0
    assert sum(rules.values()) == len(samples), rules
    assert all("measure_sample" in rule for rule in rules), rules


def test_only_chains_ask_for_a_gpu(smoke: Workflow) -> None:
    for job in slurm_jobs(smoke.repository):
        assert job.gpus == ("sample" in job.comment), job
        assert job.cpus == 1, job
        assert job.minutes == (150 if "sample" in job.comment else 30), job
    # The GPU that Slurm assigned does not exist. The chain detected this and used the CPU.
    with xr.open_dataset(smoke.repository / LONG) as samples:
        assert set(samples["device"].to_numpy()) == {"cpu"}


def run_alone(repository: Path, run: str, output: Path) -> None:
    """Run a chain by its command, without Snakemake and Slurm."""
    folder = repository / "results" / "smoke" / run
    subprocess.run(
        [
            sys.executable, "-m", "weightsharing", "sample", folder / "run.yaml", folder / "task.nc",
            output, "--theory", folder / "theory.nc",
        ],
        env=os.environ | {"PYTHONPATH": str(repository / "src")}, check=True, capture_output=True,
    )  # fmt: skip


def assert_same_draws(one: Path, other: Path) -> None:
    """Assert that two files have bitwise equal numbers. Run times may differ."""
    with xr.open_dataset(one) as first, xr.open_dataset(other) as second:
        xr.testing.assert_equal(
            first.drop_vars("wall_seconds", errors="ignore"),
            second.drop_vars("wall_seconds", errors="ignore"),
        )


def test_a_job_computes_what_the_command_computes(smoke: Workflow, tmp_path: Path) -> None:
    run_alone(smoke.repository, FAMILY, tmp_path / "samples.nc")
    piped = smoke.repository / LONG
    assert_same_draws(piped, tmp_path / "samples.nc")


@pytest.fixture(scope="session")
def uninterrupted(
    copy_with_a_long_family: Callable[[float], Path], smoke: Workflow
) -> tuple[Path, Path]:
    """A repository whose family is long enough to interrupt, and its draws without interruption.

    It runs after the smoke preset, because it would take longer beside it.
    """
    repository = copy_with_a_long_family(LONG_ENOUGH_TO_INTERRUPT)
    snakemake(repository, f"results/smoke/{FAMILY}/theory.nc")
    draws = repository / "samples.nc"
    run_alone(repository, FAMILY, draws)
    return repository, draws


@pytest.fixture
def repository(uninterrupted: tuple[Path, Path], tmp_path: Path) -> Path:
    """A new copy of this repository with its configuration and without results."""
    folder = smoke_repository(tmp_path)
    shutil.copy(uninterrupted[0] / "config.yaml", folder)
    return folder


def checkpoints(repository: Path) -> list[Path]:
    """The checkpoints of the family's members."""
    return list((repository / "results/smoke/checkpoints" / FAMILY).parent.glob("rnn-*"))


def sample_log(repository: Path) -> str:
    """The output of the last run of the family's chain."""
    return (repository / f"logs/smoke/{FAMILY}/sample.log").read_text()


def test_a_cancelled_chain_is_submitted_again_and_resumes(
    repository: Path, uninterrupted: tuple[Path, Path]
) -> None:
    workflow = submit(repository, LONG)
    wait_until(lambda: checkpoints(repository), workflow)
    alive = subprocess.run(
        ["squeue", "--noheader", "--states=running", "--format=%i %Z"],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    (number,) = [line.split()[0] for line in alive if line.split()[1] == str(repository)]
    subprocess.run(["scancel", number], check=True)
    workflow.succeeds()
    assert [job.state for job in chains(repository)] == ["CANCELLED", "COMPLETED"]
    assert resumed_within(repository)
    assert_same_draws(repository / LONG, uninterrupted[1])


def resumed_within(repository: Path) -> bool:
    """Whether a member of the family resumed between its first and its last step."""
    steps = re.findall(r"resuming at step (\d+) of (\d+)", sample_log(repository))
    return any(0 < int(step) < int(last) for step, last in steps)


def wait_until_it_waits(workflow: Workflow) -> None:
    """Wait until Snakemake has selected its jobs and waits for them.

    Snakemake holds a lock while it selects jobs, and its SIGTERM handler takes the same lock. A signal at
    that time hangs it. Snakemake counts as waiting after one second in which its main thread used no
    processor time and it had no solver process.
    """
    process = psutil.Process(workflow.process.pid)

    def work() -> tuple[float, float]:
        main = next(thread for thread in process.threads() if thread.id == process.pid)
        return (main.user_time, main.system_time)

    def solves() -> bool:
        # Other child processes are Slurm queries of another thread.
        with contextlib.suppress(psutil.NoSuchProcess):
            return any("cbc" in child.name() for child in process.children())
        return True

    before, since = work(), time.monotonic()

    def waits() -> bool:
        nonlocal before, since
        now = work()
        if now != before or solves():
            before, since = now, time.monotonic()
        return time.monotonic() - since > 1.0

    wait_until(waits, workflow)


@dataclass(frozen=True)
class Interrupted:
    """A workflow that a signal ended: its exit status, and the times of its finished files."""

    code: int
    finished: dict[Path, int]


def interrupt(repository: Path, number: signal.Signals, *words: str) -> Interrupted:
    """Start a workflow. Send it a signal once one short chain has finished and another runs."""
    workflow = submit(repository, *words)
    wait_until(lambda: "(Rule: sample)" in workflow.text, workflow)
    wait_until(lambda: "RUNNING" in {job.state for job in chains(repository)}, workflow)
    if LONG in words:
        wait_until(lambda: checkpoints(repository), workflow)
    wait_until_it_waits(workflow)
    # A job counts as finished only if Snakemake has seen its end.
    seen = re.findall(r"Finished jobid: (\d+) \(Rule: sample\)", workflow.text)
    jobs = re.findall(r"output: (\S+/samples\.nc)\n(?:.*\n)*?\s+jobid: (\d+)", workflow.text)
    finished = [repository / name for name, job in jobs if job in seen]
    assert finished
    workflow.process.send_signal(number)
    code = workflow.process.wait(PATIENCE)
    return Interrupted(code, {path: path.stat().st_mtime_ns for path in finished})


def assert_resumed(
    repository: Path, interrupted: Interrupted, smoke: Workflow, *targets: str
) -> None:
    """Run the workflow again. Assert that no finished job reruns and that results are the same."""
    assert not all((repository / target).exists() for target in targets)
    output = submit(repository, *targets).succeeds()
    for path, made in interrupted.finished.items():
        assert path.stat().st_mtime_ns == made, path
        assert f"output: {path.relative_to(repository)}" not in output
    assert planned(repository, *targets) == Counter()
    for target in SHORT:
        assert_same_draws(repository / target, smoke.repository / target)


def test_after_an_interrupt_jobs_are_cancelled_and_chains_resume(
    repository: Path, smoke: Workflow, uninterrupted: tuple[Path, Path]
) -> None:
    interrupted = interrupt(repository, signal.SIGINT, *SHORT, LONG)
    assert interrupted.code != 0
    wait_until(lambda: not slurm_jobs(repository, alive=True))
    assert "CANCELLED" in {job.state for job in chains(repository)}
    assert_resumed(repository, interrupted, smoke, *SHORT, LONG)
    assert resumed_within(repository)
    assert_same_draws(repository / LONG, uninterrupted[1])


def test_after_a_termination_running_jobs_end_and_no_more_are_submitted(
    repository: Path, smoke: Workflow
) -> None:
    interrupted = interrupt(repository, signal.SIGTERM, *SHORT, "--jobs", "1")
    assert interrupted.code != 0
    assert {job.state for job in slurm_jobs(repository)} == {"COMPLETED"}
    assert len(chains(repository)) < len(SHORT)
    assert_resumed(repository, interrupted, smoke, *SHORT)
    assert len(chains(repository)) == len(SHORT)


def commands_after_a_kill() -> str:
    """The commands after a kill, from docs/cluster.md."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    (block,) = [
        part for part in re.findall(r"(?:^    .*\n)+", page, re.MULTILINE) if "scancel" in part
    ]
    return re.sub("^    ", "", block, flags=re.MULTILINE)


def test_after_a_kill_orphans_are_cancelled_and_chains_resume(
    repository: Path, smoke: Workflow, uninterrupted: tuple[Path, Path]
) -> None:
    interrupted = interrupt(repository, signal.SIGKILL, *SHORT, LONG)
    assert interrupted.code == -signal.SIGKILL
    assert slurm_jobs(repository, alive=True), "no job was left to cancel"
    refused = submit(repository, *SHORT, LONG)
    assert refused.process.wait(PATIENCE) != 0
    assert "LockException" in refused.text
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands_after_a_kill()],
        cwd=repository, env=environment, check=True, capture_output=True,
    )  # fmt: skip
    assert not slurm_jobs(repository, alive=True)
    assert_resumed(repository, interrupted, smoke, *SHORT, LONG)
    assert resumed_within(repository)
    assert_same_draws(repository / LONG, uninterrupted[1])


def test_a_chain_over_its_time_limit_gets_more_time_and_resumes(over_its_limit: Workflow) -> None:
    over_its_limit.succeeds()
    jobs = chains(over_its_limit.repository)
    assert [job.state for job in jobs] == ["TIMEOUT"] * (len(jobs) - 1) + ["COMPLETED"]
    assert len(jobs) > 1
    assert [job.minutes for job in jobs] == list(range(1, len(jobs) + 1))
    # Slurm sends SIGTERM before SIGKILL. The time between suffices for a checkpoint.
    assert resumed_within(over_its_limit.repository)
