"""Claims of figure 5: RNNs need fewer supervised steps of a sequence than DNNs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from weightsharing.figures.claims import (
    SAMPLERS,
    Claim,
    Finding,
    claim,
    finite_width_kernel,
    furthest_entry,
    kernel_scale,
    readout_residual,
    span,
    supervised_outputs,
    unsupervised_outputs_vanish,
)
from weightsharing.figures.fig5.generalisation import (
    alignments_agree,
    each_error_agrees,
    elsewhere,
    errors_agree,
    rnn_is_ahead,
    rnn_is_aligned,
    rnn_is_not_ahead,
    rnn_needs_fewer_steps,
)
from weightsharing.figures.fig5.starts import chains_by_count, chains_in_phase, parted
from weightsharing.figures.results import ROLES, NoDataError, Result, Results
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    compare,
    entry_name,
    kernel_entries,
    score_of_mean,
    within_two_errors,
)
from weightsharing.measures.spectra import EDGE_FALSE_ALARM
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.task import Task, label_kernels
from weightsharing.model.tasks import SinusoidTask, rotation_teacher
from weightsharing.theory.outliers import weight_eigenvalues

Runs = Sequence[Result]
PANELS: dict[Kind, str] = {"dnn": "c", "rnn": "d"}
# Called by the caption.
__all__ = ["chains_by_count", "claims", "parted", "within_two_errors"]
# This number of supervised steps or fewer do not identify a rotation.
FEW_STEPS = 3
# Largest share of sets with several phases.
MOST_PARTED = 0.2
NO_HALF = "no sets with half of the steps supervised"
NO_WHOLE = "no set of all times"


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    results, untrained = parted(results)
    tasks = [run.task for run in results.runs]
    period = period_of(results.runs[0]) if results.runs else None
    rows = [
        label_kernel_is_sinusoid.judge(tasks, period),
        teacher_rotates.judge(period),
        teacher_makes_targets.judge(tasks, period),
    ]
    for role in ROLES:
        words = {"role": role, "sampler": SAMPLERS[role]}
        sets = {kind: results.select(kind=kind, role=role) for kind in KINDS}
        runs = {kind: list(filter(has_one_phase, sets[kind])) for kind in KINDS}
        many = {kind: list(filter(has_many_steps, runs[kind])) for kind in KINDS}
        few = {kind: list(filter(has_few_steps, runs[kind])) for kind in KINDS}
        rows += [
            rnn_is_ahead.judge(many["dnn"], many["rnn"], **words),
            rnn_is_not_ahead.judge(few["dnn"], few["rnn"], **words),
            rnn_is_aligned.judge(many["dnn"], many["rnn"], **words),
            rnn_needs_fewer_steps.judge(runs["dnn"], runs["rnn"], **words),
            dnns_regress_to_the_mean.judge(runs["dnn"], **words),
            unsupervised_outputs_are_met.judge(many["rnn"], **words),
        ]
        for kind in KINDS:
            network = {"kind": kind, "network": kind.upper(), "panel": PANELS[kind]}
            rows += [
                few_sets_have_several_phases.judge(sets[kind], **words, **network),
                errors_agree.judge(runs[kind], **words, **network),
                each_error_agrees.judge(runs[kind], **words, **network),
                alignments_agree.judge(runs[kind], **words, **network),
                kernels_agree.judge(many[kind], **words, **network),
                sizes_agree.judge(many[kind], **words, **network),
                supervised_agree.judge(runs[kind], **words, **network),
                readouts_agree.judge(runs[kind], **words, **network),
            ]
    # The exact sampler of this figure keeps no eigenvalues: panels c and d show trained weights.
    dnn, rnn = (results.select(kind=kind, role="trained") for kind in KINDS)
    whole = next(filter(has_all_steps, rnn), None)
    return [
        *rows,
        dnn_has_no_outliers.judge(dnn),
        rnn_has_one_pair.judge(whole),
        angle_agrees.judge(whole),
        phase_is_reached.judge(chains_in_phase(untrained) if untrained else None),
    ]


# --- sets -------------------------------------------------------------------------------------------


def has_many_steps(run: Result) -> bool:
    """At least half of the steps supervised, but not all: something is left to generalise to."""
    steps = run.run.architecture.steps
    return steps / 2 <= len(run.supervised_times) < steps


def has_few_steps(run: Result) -> bool:
    """Too few to identify a rotation, and less than half."""
    count = len(run.supervised_times)
    return count <= FEW_STEPS and count < run.run.architecture.steps / 2


def has_all_steps(run: Result) -> bool:
    """All steps supervised."""
    return len(run.supervised_times) == run.run.architecture.steps


def has_one_phase(run: Result) -> bool:
    """The posterior at this N has one phase in theory (``measures.phases``).

    Networks that pass between phases have no phase whose kernel could be compared. Theory alone decides.
    """
    return int(run.data.get("phases", 1)) == 1


@claim(
    "5b-phases-{kind}-{role}",
    "Few sets have several phases at this N, which the other rows leave out: {network}s; {sampler}",
    kind="theory",
    despite_faults=True,
    ours=True,
)
def few_sets_have_several_phases(runs: Runs) -> Finding:
    """Sets whose theory has further minima that networks of this width visit."""
    several = [run.set_name for run in runs if not has_one_phase(run)]
    return Finding(
        quantity=f"sets, of {len(runs)}, with several phases, N = {span(runs)}",
        measured=len(several),
        criterion=f"at most {MOST_PARTED:.0%} of the sets",
        holds=len(several) <= MOST_PARTED * len(runs),
        explanation=f"Left out: {', '.join(several)}." if several else "",
    )


def period_of(run: Result) -> float:
    """The period of the teacher, in steps. Raises NoDataError for another task."""
    task = run.run.task
    if not isinstance(task, SinusoidTask):
        raise NoDataError(f"{run.name} does not learn a sinusoid")
    return task.period or float(run.run.architecture.steps)


# --- panel a ----------------------------------------------------------------------------------------


@claim("5a-labels", "Label kernel of the sinusoid", kind="definition", missing=NO_WHOLE)
def label_kernel_is_sinusoid(tasks: Sequence[Task], period: float) -> Finding:
    """Y^(tt') of the set of all times against cos(2 pi t / period) cos(2 pi t' / period)."""
    task = next((task for task in tasks if task.supervised.all()), None)
    if task is None:
        raise NoDataError(NO_WHOLE)
    wave = np.cos(2.0 * np.pi * np.arange(1, task.steps + 1) / period)
    largest = float(np.abs(label_kernels(task)[0] - np.outer(wave, wave)).max())
    return Finding(
        quantity="largest deviation of Y from cos(2 pi t / period) cos(2 pi t' / period)",
        theory=0.0,
        measured=largest,
        criterion="0 up to rounding, 1e-12",
        holds=largest < 1e-12,
    )


@claim(
    "5a-teacher",
    "Spectrum of the teacher's weights: a pair at the angle of one step",
    kind="definition",
    missing="no run given",
)
def teacher_rotates(period: float) -> Finding:
    """Angle of the eigenvalues of the teacher's weights, in degrees."""
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


@claim("5a-output", "Sinusoidal output of the teacher", kind="definition", missing="no task given")
def teacher_makes_targets(tasks: Sequence[Task], period: float) -> Finding:
    """Outputs of the teacher, step by step, against the targets of all sets."""
    recurrent, into, readout = rotation_teacher(period)
    activity = np.zeros(len(recurrent))
    outputs = []
    for step in tasks[0].inputs[0]:
        activity = recurrent @ activity + into @ step
        outputs.append(readout @ activity)
    largest = max(float(np.abs(task.targets[0] - outputs).max()) for task in tasks)
    return Finding(
        quantity="largest difference between targets and outputs of the teacher",
        theory=0.0,
        measured=largest,
        criterion="0 up to rounding, 1e-12",
        holds=largest < 1e-12,
    )


# --- panels c and d ---------------------------------------------------------------------------------


@claim(
    "5c-regression-{role}",
    "DNNs predict 0 at unsupervised steps (regression to the mean); {sampler}",
    missing="no unsupervised step",
)
def dnns_regress_to_the_mean(runs: Runs) -> Finding:
    """Mean outputs of DNNs at all unsupervised times of all sets."""
    return unsupervised_outputs_vanish(runs)


@claim(
    "5d-interpolation-{role}",
    "RNNs interpolate between supervised steps; {sampler}",
    missing=NO_HALF,
)
def unsupervised_outputs_are_met(runs: Runs) -> Finding:
    """Relative error of RNNs at unsupervised times: 0 for the teacher, 1 for predictions of 0."""
    measured, theories = [], []
    for run in runs:
        free = ~run.task.supervised[0]
        target, *outputs = (
            run.array(name)[0, free] for name in ("target", "output", "output_theory")
        )
        size = float(target @ target)
        missed = [float(((target - f) ** 2).sum()) / size for f in outputs]
        measured.append(missed[0])
        theories.append(missed[1])
    gain, error, score, limit = score_of_mean(1.0 - np.array(measured))
    return Finding(
        quantity="squared deviation from the target at unsupervised steps relative to its square, mean "
        f"over {len(runs)} sets, N = {runs[0].width}; error bar: between sets",
        theory=float(np.mean(theories)),
        measured=1.0 - gain,
        standard_error=error,
        criterion=f"below 1, which predictions of 0 have: t-score of the sets above {limit:.2f}: "
        f"{score:.1f}",
        holds=score > limit,
    )


@claim(
    "5{panel}-kernel-{role}",
    "Kernels from T/2 supervised steps on are the theory's at their N: {network}s; {sampler}",
    missing=NO_HALF,
)
def kernels_agree(runs: Runs) -> Finding:
    """Kernels of all sets against the theory with its 1/N term, every entry."""
    test, run, entry = furthest_entry(runs)
    limit = kernel_entries(run.array("kernel_theory"))[entry]
    return Finding.of(
        test,
        f"H at {entry_name(run, entry)} of set {run.set_name}, where it deviates most, "
        f"N = {run.width}",
        explanation=f"{limit:.4g} for N to infinity.{elsewhere(run, test.holds)}",
    )


@claim(
    "5{panel}-size-{role}",
    "Kernels from T/2 supervised steps on have the theory's size at their N: {network}s; {sampler}",
    missing=NO_HALF,
    ours=True,
)
def sizes_agree(runs: Runs) -> Finding:
    """Sizes of all kernels along the theory's."""
    return kernel_scale(runs)


@claim(
    "5{panel}-supervised-{role}",
    "Outputs at supervised steps are the theory's at their N: {network}s; {sampler}",
    ours=True,
)
def supervised_agree(runs: Runs) -> Finding:
    """Mean outputs at all supervised times of all sets."""
    return supervised_outputs(runs)


@claim(
    "5{panel}-readout-{role}",
    "Sampled outputs and their means given the kernel agree: {network}s; {sampler}",
    ours=True,
)
def readouts_agree(runs: Runs) -> Finding:
    """Sampled outputs less those means, all times of all sets."""
    return readout_residual(runs)


@claim(
    "5d-start",
    "Of the chains of RNNs that start untrained, most reach the theory's phase; trained networks",
    ours=True,
)
def phase_is_reached(chains: tuple[int, int]) -> Finding:
    """Share of the chains of untrained RNNs that end nearest to the point of lowest action.

    The other rows start RNNs in that phase. chains: how many are there, of how many.
    """
    inside, total = chains
    share = inside / total
    lowest = float(stats.beta(inside, total - inside + 1).ppf(FALSE_ALARM)) if inside else 0.0
    return Finding(
        quantity=f"share of {total} chains nearest to the theory's point",
        measured=share,
        standard_error=math.sqrt(share * (1.0 - share) / total),
        criterion=f"above 1/2; its lower limit at {FALSE_ALARM:.1%} is {lowest:.2f}",
        holds=lowest > 0.5,
        explanation="All other rows of RNNs start in that phase: barriers hold the other chains back.",
    )


@claim("5c-disc", "DNNs have no eigenvalue outside the disc; trained networks")
def dnn_has_no_outliers(runs: Runs) -> Finding:
    """Eigenvalues beyond the edge of the noise in all sets together."""
    counts = [run.array("outliers") for run in runs]
    total, spectra = int(np.sum([count.sum() for count in counts])), sum(c.size for c in counts)
    named = [run.set_name for run, count in zip(runs, counts, strict=True) if count.any()]
    expected = EDGE_FALSE_ALARM * len(runs)
    most = int(stats.poisson(expected).isf(FALSE_ALARM))
    inside = max(
        float(np.abs(weight_eigenvalues(finite_width_kernel(run), "dnn")).max()) for run in runs
    )
    radius = math.sqrt(runs[0].run.architecture.prior.w)
    return Finding(
        quantity=f"eigenvalues beyond the edge of noise in {spectra} spectra, N = {runs[0].width}",
        theory=expected,
        measured=float(total),
        criterion=f"at most {most}, which noise exceeds with probability below {FALSE_ALARM:.1%}; the "
        f"theory's largest, {inside:.3f}, is inside the disc of radius {radius:.3f}",
        holds=total <= most and inside < radius,
        explanation="The edge lets noise pass once in a hundred sets."
        + (f" Here in: {', '.join(named)}." if named else ""),
    )


@claim(
    "5d-pair",
    "RNNs have one pair of eigenvalues outside the disc, all steps supervised; trained networks",
    missing=NO_WHOLE,
)
def rnn_has_one_pair(run: Result) -> Finding:
    """Eigenvalues beyond the edge of the noise in each spectrum, all steps supervised."""
    counts, edge = run.array("outliers"), run.value("noise_edge")
    theory = np.abs(weight_eigenvalues(finite_width_kernel(run), "rnn"))
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {run.width}",
        theory=float((theory > edge).sum()),
        measured=float(counts.mean()),
        criterion=f"2 in each of {counts.size} spectra",
        holds=bool((counts == 2).all()),
        explanation=f"The edge is at {edge:.3f} at this N.",
    )


@claim(
    "5d-angle",
    "RNNs learn the teacher's rotation: angle of that pair; trained networks",
    missing=NO_WHOLE,
    ours=True,
)
def angle_agrees(run: Result) -> Finding:
    """Angle of the largest eigenvalue in degrees, all steps supervised."""
    real, imaginary = np.moveaxis(run.array("largest_eigenvalue"), -1, 0)
    angles = np.degrees(np.abs(np.arctan2(imaginary, real))).mean(axis=1)
    error = angles.std(ddof=1) / math.sqrt(angles.size)
    values = weight_eigenvalues(finite_width_kernel(run), "rnn")
    expected = float(np.degrees(np.abs(np.angle(values[0]))))
    freedom = angles.size - 1
    test = compare(angles.mean(), expected, error, freedom=freedom)
    return Finding.of(
        test,
        f"angle of the largest eigenvalue in degrees, N = {run.width}",
        criterion=f"{test.criterion}; Student's t, {freedom} degrees of freedom (chains less 1)",
        explanation=f"The teacher turns by 360 / period = {360.0 / period_of(run):.3g} degrees.",
    )
