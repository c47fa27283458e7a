"""Claims of figure 5: RNNs need fewer supervised steps of a sequence than DNNs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import xarray as xr
from scipy import stats

from weightsharing.figures.claims import (
    FALSE_ALARM,
    ROLE_NAMES,
    ROLES,
    Claim,
    Evidence,
    Finding,
    NoDataError,
    Role,
    compare,
    entry_name,
    finite_width_kernel,
    judge,
    kernel_entries,
    median,
    name_of,
    require,
    role_of,
    run_of,
    supervised_times,
    width_of,
)
from weightsharing.figures.results import Results
from weightsharing.measures.compare import EDGE_FALSE_ALARM
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.axes import Array
from weightsharing.model.tasks import Task, label_kernels, rotation_teacher
from weightsharing.theory.outliers import weight_eigenvalues

Runs = Sequence[xr.Dataset]
PANELS: dict[Kind, str] = {"dnn": "c", "rnn": "d"}
# From T/2 supervised steps on, errors of RNNs are below this fraction of those of DNNs; with this number
# of steps or fewer, which do not identify a rotation, they are above the second.
ADVANTAGE = 1.0 / 5.0
FEW_STEPS = 3
NO_ADVANTAGE = 1.0 / 2.0


def rows(evidence: Evidence) -> list[Claim]:
    """All rows of the figure."""
    everything = family(evidence.measures, "rnn", "trained") or evidence.measures
    found = [
        judge(
            "5a-labels",
            "Label kernel of the sinusoid",
            partial(label_kernel_is_sinusoid, evidence.tasks, everything),
        ),
        judge(
            "5a-teacher",
            "Spectrum of the teacher's weights: a pair at the angle of one step",
            partial(teacher_rotates, everything),
        ),
        judge(
            "5a-output",
            "Sinusoidal output of the teacher",
            partial(teacher_makes_targets, evidence.tasks, everything),
        ),
    ]
    for role in ROLES:
        dnn, rnn = (family(evidence.measures, kind, role) for kind in KINDS)
        name = ROLE_NAMES[role]
        many, few = (_selected(dnn, which) for which in (many_steps, few_steps))
        many_rnn, few_rnn = (_selected(rnn, which) for which in (many_steps, few_steps))
        found += [
            judge(
                f"5b-advantage-{role}",
                f"RNNs generalise better than DNNs from T/2 supervised steps on; {name}",
                partial(rnn_is_ahead, many, many_rnn),
                [*many, *many_rnn],
            ),
            judge(
                f"5b-few-{role}",
                f"A few supervised steps are too few for RNNs as well; {name}",
                partial(rnn_is_not_ahead, few, few_rnn),
                [*few, *few_rnn],
            ),
            judge(
                f"5c-regression-{role}",
                f"DNNs predict 0 at unsupervised steps (regression to the mean); {name}",
                partial(unsupervised_outputs_vanish, dnn),
                dnn,
            ),
            judge(
                f"5d-interpolation-{role}",
                f"RNNs interpolate between supervised steps; {name}",
                partial(unsupervised_outputs_are_met, many_rnn),
                many_rnn,
            ),
        ]
        for kind, runs in zip(KINDS, (dnn, rnn), strict=True):
            words = f"{kind.upper()}s; {name}"
            found += [
                judge(
                    f"5b-share-{kind}-{role}",
                    f"Generalisation errors are the theory's at their N, share of sets: {words}",
                    partial(errors_agree, runs),
                    runs,
                ),
                judge(
                    f"5b-furthest-{kind}-{role}",
                    f"Generalisation errors are the theory's at their N, each set: {words}",
                    partial(each_error_agrees, runs),
                    runs,
                ),
                judge(
                    f"5{PANELS[kind]}-kernel-{role}",
                    f"Kernels from T/2 supervised steps on are the theory's at their N: {words}",
                    partial(kernels_agree, many if kind == "dnn" else many_rnn),
                    many if kind == "dnn" else many_rnn,
                ),
            ]
    # The exact sampler of this figure keeps no eigenvalues: panels c and d show trained weights.
    dnn, rnn = (family(evidence.measures, kind, "trained") for kind in KINDS)
    whole = _selected(rnn, all_steps)
    found += [
        judge(
            "5c-disc",
            "DNNs have no eigenvalue outside the disc; trained networks",
            partial(dnn_has_no_outliers, dnn),
            dnn,
        ),
        judge(
            "5d-pair",
            "RNNs have one pair of eigenvalues outside the disc, all steps supervised; trained networks",
            partial(rnn_has_one_pair, whole),
            whole,
        ),
        judge(
            "5d-angle",
            "RNNs learn the teacher's rotation: angle of that pair; trained networks",
            partial(angle_agrees, whole),
            whole,
        ),
    ]
    return found


# --- runs of a family -------------------------------------------------------------------------------


def family(measures: Runs, kind: str, role: Role) -> list[xr.Dataset]:
    """The sets of one network by one sampler."""
    return [
        run
        for run in measures
        if run_of(run)["architecture"]["kind"] == kind and role_of(run) == role
    ]


def many_steps(run: xr.Dataset) -> bool:
    """At least half of the steps supervised, but not all: something is left to generalise to."""
    steps = run.sizes["output_time"]
    return bool(steps / 2 <= len(supervised_times(run)) < steps)


def few_steps(run: xr.Dataset) -> bool:
    """Too few to identify a rotation, and less than half."""
    count = len(supervised_times(run))
    return count <= FEW_STEPS and count < run.sizes["output_time"] / 2


def all_steps(run: xr.Dataset) -> bool:
    """All steps supervised."""
    return len(supervised_times(run)) == run.sizes["output_time"]


def _selected(runs: Runs, which: Callable[[xr.Dataset], bool]) -> list[xr.Dataset]:
    return [run for run in runs if which(run)]


# --- panel a ----------------------------------------------------------------------------------------


def label_kernel_is_sinusoid(tasks: Sequence[Task], runs: Runs) -> Finding:
    """Y^(tt') of the set of all times against cos(2 pi t / period) cos(2 pi t' / period)."""
    period = _period(runs)
    task = next((task for task in tasks if task.supervised.all()), None)
    if task is None:
        raise NoDataError("no set of all times")
    wave = np.cos(2.0 * np.pi * np.arange(1, task.steps + 1) / period)
    apart = float(np.abs(label_kernels(task)[0] - np.outer(wave, wave)).max())
    return Finding(
        quantity="largest deviation of Y from cos(2 pi t / period) cos(2 pi t' / period)",
        theory=0.0,
        measured=apart,
        criterion="0 up to rounding, 1e-12",
        holds=apart < 1e-12,
    )


def teacher_rotates(runs: Runs) -> Finding:
    """Angle of the eigenvalues of the teacher's weights, in degrees."""
    period = _period(runs)
    values = np.linalg.eigvals(rotation_teacher(period)[0])
    angle = float(np.degrees(np.abs(np.angle(values)).max()))
    modulus = float(np.abs(values).max())
    return Finding(
        quantity="angle of the teacher's eigenvalues in degrees",
        theory=360.0 / period,
        measured=angle,
        criterion=f"360 / period and modulus 1 up to rounding, 1e-9; modulus {modulus:.9f}",
        holds=abs(angle - 360.0 / period) < 1e-9 and abs(modulus - 1.0) < 1e-9,
    )


def teacher_makes_targets(tasks: Sequence[Task], runs: Runs) -> Finding:
    """Outputs of the teacher, step by step, against the targets of all sets."""
    if not tasks:
        raise NoDataError("no task given")
    recurrent, into, readout = rotation_teacher(_period(runs))
    activity = np.zeros(len(recurrent))
    outputs = []
    for step in tasks[0].inputs[0]:
        activity = recurrent @ activity + into @ step
        outputs.append(readout @ activity)
    apart = max(float(np.abs(task.targets[0] - outputs).max()) for task in tasks)
    return Finding(
        quantity="largest difference between targets and outputs of the teacher",
        theory=0.0,
        measured=apart,
        criterion="0 up to rounding, 1e-12",
        holds=apart < 1e-12,
    )


# --- panel b ----------------------------------------------------------------------------------------


def rnn_is_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """The largest ratio of median errors, RNN to DNN, from T/2 supervised steps on."""
    counts, theory, measured, errors = _ratios(dnn, rnn)
    index = int(measured.argmax())
    return Finding(
        quantity=f"RNN's median error relative to DNN's with {counts[index]} supervised steps, largest "
        f"of {counts[0]} to {counts[-1]}",
        theory=float(theory[index]),
        measured=float(measured[index]),
        standard_error=float(errors[index]),
        criterion=f"below {ADVANTAGE:g} for all of them",
        holds=bool(measured.max() < ADVANTAGE),
        explanation="With all steps supervised nothing is left to generalise to.",
    )


def rnn_is_not_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """The smallest ratio of median errors, RNN to DNN, with few supervised steps."""
    counts, theory, measured, errors = _ratios(dnn, rnn)
    index = int(measured.argmin())
    return Finding(
        quantity=f"RNN's median error relative to DNN's with {counts[index]} supervised steps, smallest "
        f"of {counts[0]} to {counts[-1]}",
        theory=float(theory[index]),
        measured=float(measured[index]),
        standard_error=float(errors[index]),
        criterion=f"above {NO_ADVANTAGE:g} for all of them",
        holds=bool(measured.min() > NO_ADVANTAGE),
    )


def _ratios(dnn: Runs, rnn: Runs) -> tuple[list[int], Array, Array, Array]:
    """Numbers of supervised steps; RNN's over DNN's median error in theory, measured, its error bar."""
    counts = sorted({len(supervised_times(run)) for run in (*dnn, *rnn)})
    if not counts or not dnn or not rnn:
        raise NoDataError("no sets of these numbers of steps")
    found = []
    for count in counts:
        groups = [
            [run for run in runs if len(supervised_times(run)) == count] for runs in (rnn, dnn)
        ]
        if not all(groups):
            raise NoDataError(f"RNN or DNN has no set of {count} steps")
        (above, above_error, above_theory), (below, below_error, below_theory) = map(
            _median_error, groups
        )
        ratio = above / below
        error = math.hypot(above_error, ratio * below_error) / abs(below)
        found.append((above_theory / below_theory, ratio, error))
    theory, measured, errors = np.array(found).T
    return counts, theory, measured, errors


def _median_error(runs: Runs) -> tuple[float, float, float]:
    measured, error = median(*_errors(runs)[:2])
    return measured, error, float(np.median(_errors(runs)[2]))


def _errors(runs: Runs) -> tuple[Array, Array, Array]:
    """Generalisation error of each set: measured, standard error, theory with its 1/N term."""
    if not runs:
        raise NoDataError("no run of this sampler")
    names = [f"generalisation_error{end}" for end in ("", "_standard_error", "_finite_width")]
    for run in runs:
        require(run, *names)
    measured, error, theory = (np.array([float(run[name]) for run in runs]) for name in names)
    return measured, error, theory


def errors_agree(runs: Runs) -> Finding:
    """Share of the sets whose error is within two standard errors of the theory at their N."""
    measured, error, theory = _errors(runs)
    inside = np.abs(measured - theory) < 2.0 * error
    count, total = int(inside.sum()), len(runs)
    expected = float(2.0 * stats.norm.cdf(2.0) - 1.0)
    chance = float(stats.binom(total, expected).cdf(count))
    converged = np.array([run.attrs["converged"] == "yes" for run in runs])
    partly = (
        ""
        if converged.all()
        else f"{int(converged.sum())} of {total} sets converged, {int((inside & converged).sum())} of "
        "them agree."
    )
    return Finding(
        quantity=f"share of {total} sets within two standard errors, N = {width_of(runs[0])}",
        theory=expected,
        measured=count / total,
        standard_error=math.sqrt(expected * (1.0 - expected) / total),
        criterion=f"probability of as many or fewer by chance above {FALSE_ALARM:.1%}: {chance:.2g}",
        holds=chance > FALSE_ALARM,
        explanation=partly,
    )


def each_error_agrees(runs: Runs) -> Finding:
    """The set whose error deviates most from the theory at its N."""
    measured, error, theory = _errors(runs)
    test = compare(measured, theory, error)
    run = runs[test.index]
    limit = float(run["generalisation_error_theory"])
    return Finding(
        quantity=f"generalisation error of the set that deviates most, {name_of(run).split()[-1]}, "
        f"N = {width_of(run)}",
        theory=float(theory[test.index]),
        measured=float(measured[test.index]),
        standard_error=float(error[test.index]),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"{limit:.3g} for N to infinity.{_points(run, test.holds)}",
    )


# --- panels c and d ---------------------------------------------------------------------------------


def unsupervised_outputs_vanish(runs: Runs) -> Finding:
    """Mean outputs of DNNs at all unsupervised times of all sets."""
    outputs, errors, names = [], [], []
    for run in runs:
        free = run["supervised"].to_numpy()[0] == 0
        outputs.append(run["output"].to_numpy()[0, free])
        errors.append(run["output_standard_error"].to_numpy()[0, free])
        names += [
            f"t = {time} of set {name_of(run).split()[-1]}"
            for time in run["output_time"].to_numpy()[free]
        ]
    if not names:
        raise NoDataError("no unsupervised step")
    values, error = np.concatenate(outputs), np.concatenate(errors)
    test = compare(values, 0.0, error)
    return Finding(
        quantity=f"mean output at {names[test.index]}, where it deviates most, N = {width_of(runs[0])}",
        theory=0.0,
        measured=float(values[test.index]),
        standard_error=float(error[test.index]),
        criterion=test.criterion,
        holds=test.holds,
    )


def unsupervised_outputs_are_met(runs: Runs) -> Finding:
    """What RNNs miss of the targets at unsupervised times: 0 for the teacher, 1 for predictions of 0."""
    if not runs:
        raise NoDataError("no sets with half of the steps supervised")
    period = _period(runs)
    found = []
    for run in runs:
        free = run["supervised"].to_numpy()[0] == 0
        target = np.cos(2.0 * np.pi * run["output_time"].to_numpy()[free] / period)
        require(run, "output_theory")
        output, theory = (run[name].to_numpy()[0, free] for name in ("output", "output_theory"))
        error = run["output_standard_error"].to_numpy()[0, free]
        size = float(target @ target)
        # Fully correlated between times, which is the worst case.
        spread = 2.0 * float(np.abs(target - output) @ error) / size
        missed = [float(((target - f) ** 2).sum()) / size for f in (output, theory)]
        found.append((missed[0], spread, missed[1]))
    measured, errors, theories = np.array(found).T
    value, error = median(measured, errors)
    return Finding(
        quantity="squared deviation from the target at unsupervised steps relative to its square, median "
        f"over {len(runs)} sets, N = {width_of(runs[0])}",
        theory=float(np.median(theories)),
        measured=value,
        standard_error=error,
        criterion=f"below {ADVANTAGE:g}; predictions of 0 have 1",
        holds=value < ADVANTAGE,
    )


def kernels_agree(runs: Runs) -> Finding:
    """Kernels of all sets against the theory with its 1/N term, every entry."""
    if not runs:
        raise NoDataError("no sets with half of the steps supervised")
    names = ("kernel", "kernel_standard_error")
    measured, error = (
        np.stack([kernel_entries(run[name].to_numpy()) for run in runs]) for name in names
    )
    theory = np.stack([kernel_entries(finite_width_kernel(run)) for run in runs])
    limit = np.stack([kernel_entries(run["kernel_theory"].to_numpy()) for run in runs])
    test = compare(measured, theory, error)
    index, entry = divmod(test.index, measured.shape[1])
    run = runs[index]
    return Finding(
        quantity=f"H at {entry_name(run, entry)} of set {name_of(run).split()[-1]}, where it deviates "
        f"most, N = {width_of(run)}",
        theory=float(theory[index, entry]),
        measured=float(measured[index, entry]),
        standard_error=float(error[index, entry]),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"{limit[index, entry]:.4g} for N to infinity.{_points(run, test.holds)}",
    )


def dnn_has_no_outliers(runs: Runs) -> Finding:
    """Eigenvalues beyond the edge of the noise in all sets together."""
    if not runs:
        raise NoDataError("no run of this sampler")
    for run in runs:
        require(run, "outliers")
    total = int(sum(run["outliers"].to_numpy().sum() for run in runs))
    spectra = sum(run["outliers"].size for run in runs)
    expected = EDGE_FALSE_ALARM * len(runs)
    inside = max(
        float(np.abs(weight_eigenvalues(finite_width_kernel(run), "dnn")).max()) for run in runs
    )
    named = [name_of(run).split()[-1] for run in runs if run["outliers"].to_numpy().any()]
    radius = math.sqrt(run_of(runs[0])["architecture"]["prior"]["w"])
    most = int(stats.poisson(expected).isf(FALSE_ALARM))
    return Finding(
        quantity=f"eigenvalues beyond the edge of noise in {spectra} spectra, N = {width_of(runs[0])}",
        theory=expected,
        measured=float(total),
        criterion=f"at most {most}, which noise exceeds with probability below {FALSE_ALARM:.1%}; the "
        f"theory's largest, {inside:.3f}, is inside the disc of radius {radius:.3f}",
        holds=total <= most and inside < radius,
        explanation="The edge lets noise pass once in a hundred sets."
        + (f" Here in: {', '.join(named)}." if named else ""),
    )


def rnn_has_one_pair(runs: Runs) -> Finding:
    """Eigenvalues beyond the edge of the noise in each spectrum, all steps supervised."""
    run = _whole(runs)
    require(run, "outliers")
    counts = run["outliers"].to_numpy()
    theory = np.abs(weight_eigenvalues(finite_width_kernel(run), "rnn"))
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {width_of(run)}",
        theory=float((theory > float(run["noise_edge"])).sum()),
        measured=float(counts.mean()),
        criterion=f"2 in each of {counts.size} spectra",
        holds=bool((counts == 2).all()),
        explanation=f"The edge is at {float(run['noise_edge']):.3f} at this N.",
    )


def angle_agrees(runs: Runs) -> Finding:
    """Angle of the largest eigenvalue in degrees, all steps supervised."""
    run = _whole(runs)
    require(run, "largest_eigenvalue")
    largest = run["largest_eigenvalue"].to_numpy()
    angles = np.degrees(np.abs(np.arctan2(largest[..., 1], largest[..., 0]))).mean(axis=1)
    error = angles.std(ddof=1) / math.sqrt(angles.size)
    values = weight_eigenvalues(finite_width_kernel(run), "rnn")
    expected = float(np.degrees(np.abs(np.angle(values[0]))))
    freedom = angles.size - 1
    test = compare(angles.mean(), expected, error, freedom)
    return Finding(
        quantity=f"angle of the largest eigenvalue in degrees, N = {width_of(run)}",
        theory=expected,
        measured=float(angles.mean()),
        standard_error=float(error),
        criterion=f"{test.criterion}; Student's t, {freedom} degrees of freedom (chains less 1)",
        holds=test.holds,
        explanation=f"The teacher turns by 360 / period = {360.0 / _period(runs):.3g} degrees.",
    )


def _points(run: xr.Dataset, holds: bool) -> str:
    """For a claim that fails: how many chains sit at another stationary point of the theory."""
    if holds or "nearest_point" not in run:
        return ""
    elsewhere = int((run["nearest_point"].to_numpy() != 0).sum())
    return f" {elsewhere} of {run.sizes['chain']} chains are nearest to another stationary point."


def _whole(runs: Runs) -> xr.Dataset:
    if not runs:
        raise NoDataError("no set of all times")
    return runs[0]


def _period(runs: Runs) -> float:
    if not runs:
        raise NoDataError("no run given")
    return float(run_of(runs[0])["task"]["period"])


def claims(results: Results) -> list[Claim]:
    """Stand-in until the branch of the claims is merged."""
    evidence = Evidence(
        measures=tuple(result.data for result in results.runs),
        transitions=tuple(scan.data for scan in results.scans),
        tasks=tuple(result.task for result in results.runs),
    )
    return rows(evidence)
