"""Claims of figure 3: what RNNs and DNNs share, and what only RNNs learn from a strong signal."""

from __future__ import annotations

from collections.abc import Sequence
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
    require,
    role_of,
    run_of,
    width_of,
    z_limit,
    z_scores,
)
from weightsharing.figures.results import Results
from weightsharing.measures.compare import EDGE_FALSE_ALARM, alignment, relative_error
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.axes import Array
from weightsharing.model.tasks import Task, label_kernels
from weightsharing.theory.outliers import weight_eigenvalues

Runs = Sequence[xr.Dataset]
STRENGTHS = ("weak", "strong")
PANELS = {
    ("dnn", "weak"): "b",
    ("dnn", "strong"): "c",
    ("rnn", "weak"): "d",
    ("rnn", "strong"): "e",
}


def rows(evidence: Evidence) -> list[Claim]:
    """All rows of the figure."""
    found = [
        judge(
            "3a-inputs",
            "P = 4 pairwise orthogonal inputs",
            partial(inputs_are_orthogonal, evidence.tasks),
        ),
        judge(
            "3a-labels",
            "Labels are -1 or 1: entries of the label kernel over samples",
            partial(labels_have_unit_size, evidence.tasks),
        ),
        judge(
            "3a-endpoint",
            "Only the last time is supervised: the label kernel over time has one entry",
            partial(labels_are_at_the_end, evidence.tasks),
        ),
    ]
    for role in ROLES:
        weak, strong = (
            [cell(evidence.measures, kind, strength, role) for kind in KINDS]
            for strength in STRENGTHS
        )
        name = ROLE_NAMES[role]
        for strength, cells in zip(STRENGTHS, (weak, strong), strict=True):
            found.append(
                judge(
                    f"3-samples-{strength}-{role}",
                    f"DNN and RNN learn similar sample kernels from a {strength} signal; {name}",
                    partial(sample_kernels_are_similar, *cells),
                    _runs(*cells),
                )
            )
        found.append(
            judge(
                f"3-identical-{role}",
                f"Below the transition RNN and DNN are the same; {name}",
                partial(kernels_are_the_same, *weak),
                _runs(*weak),
            )
        )
        found += [
            row
            for (kind, strength), panel in PANELS.items()
            for row in cell_rows(
                cell(evidence.measures, kind, strength, role), f"3{panel}", kind, strength, role
            )
        ]
    for (kind, strength), panel in PANELS.items():
        pair = [cell(evidence.measures, kind, strength, role) for role in ROLES]
        found.append(
            judge(
                f"3{panel}-samplers",
                f"{kind.upper()}, {strength} signal: both samplers have the same kernel",
                partial(samplers_agree, *pair),
                _runs(*pair),
            )
        )
    return found


def cell(measures: Runs, kind: str, strength: str, role: Role) -> xr.Dataset | None:
    """The run of one cell, if it is there: weak and strong are the smallest and the largest signal."""
    signals = sorted(float(run.attrs["signal"]) for run in measures)
    for run in measures:
        signal = signals[0 if strength == "weak" else -1]
        same = np.isclose(float(run.attrs["signal"]), signal)
        if same and role_of(run) == role and run_of(run)["architecture"]["kind"] == kind:
            return run
    return None


def cell_rows(
    run: xr.Dataset | None, place: str, kind: str, strength: str, role: Role
) -> list[Claim]:
    """Kernel, coherence and spectrum of one cell by one sampler."""
    where = f"{kind.upper()}, {strength} signal"
    coherent = (kind, strength) == ("rnn", "strong")
    name, runs = ROLE_NAMES[role], _runs(run)
    found = [
        judge(
            f"{place}-kernel-{role}",
            f"{where}: the kernel is the one predicted by the theory (insets); {name}",
            partial(kernel_agrees, run),
            runs,
        ),
        judge(
            f"{place}-coherence-{role}",
            f"{where}: {'temporal coherence' if coherent else 'no temporal coherence'}; {name}",
            partial(is_coherent if coherent else is_as_coherent_as_theory, run),
            runs,
            ["coherence_converged"],
        ),
        judge(
            f"{place}-outlier-{role}" if coherent else f"{place}-disc-{role}",
            f"{where}: {'an' if coherent else 'no'} eigenvalue outside the disc; {name}",
            partial(has_outlier if coherent else has_no_outlier, run),
            runs,
        ),
    ]
    if coherent:
        found.append(
            judge(
                f"{place}-position-{role}",
                f"{where}: the eigenvalue is where the theory says; {name}",
                partial(outlier_position_agrees, run),
                runs,
            )
        )
    return found


def inputs_are_orthogonal(tasks: Sequence[Task]) -> Finding:
    """Largest product of two different inputs x_p . x_p' at t = 0."""
    task = _strong(tasks)
    gram = task.inputs[:, 0] @ task.inputs[:, 0].T
    largest = float(np.abs(gram - np.diag(np.diag(gram))).max())
    return Finding(
        quantity=f"largest product of two of the {task.patterns} inputs",
        theory=0.0,
        measured=largest,
        criterion="P = 4, and 0 up to rounding, 1e-12",
        holds=task.patterns == 4 and largest < 1e-12,
    )


def labels_have_unit_size(tasks: Sequence[Task]) -> Finding:
    """Entries of Y_pp'^(TT) of the strong signal."""
    samples = label_kernels(_strong(tasks))[1]
    furthest = float(np.abs(samples).flat[np.abs(np.abs(samples) - 1.0).argmax()])
    return Finding(
        quantity="modulus of the entry of Y_pp' furthest from 1, strong signal",
        theory=1.0,
        measured=furthest,
        criterion="1 up to rounding, 1e-12; both signs occur",
        holds=abs(furthest - 1.0) < 1e-12 and samples.min() < 0,
        explanation="The weak signal has smaller labels, by which it is weak.",
    )


def labels_are_at_the_end(tasks: Sequence[Task]) -> Finding:
    """Entries of Y_00^(tt') other than the last."""
    temporal = label_kernels(_strong(tasks))[0].copy()
    last = float(temporal[-1, -1])
    temporal[-1, -1] = 0.0
    return Finding(
        quantity="largest entry of Y_00 other than that of t = t' = T",
        theory=0.0,
        measured=float(np.abs(temporal).max()),
        criterion="0, and that of t = t' = T is not",
        holds=not temporal.any() and last > 0,
    )


def sample_kernels_are_similar(dnn: xr.Dataset | None, rnn: xr.Dataset | None) -> Finding:
    """CKA of both sample kernels, and the signs of their off-diagonal entries: those of y_p y_p'."""
    runs = [_there(dnn), _there(rnn)]
    labels = np.sign(run_of(runs[0])["task"]["labels"])
    upper = np.triu_indices(len(labels), 1)
    expected = np.outer(labels, labels)[upper]
    z = []
    for run in runs:
        measured = run["kernel"].to_numpy()[..., -1, -1][upper]
        error = run["kernel_standard_error"].to_numpy()[..., -1, -1][upper]
        z.append(z_scores(expected * measured, 0.0, error))
    smallest = float(np.min(z))
    # Only one side of the distribution counts, and every entry has to be beyond the limit.
    limit = z_limit(2 * len(expected))
    pairs = (
        [run["kernel"].to_numpy() for run in runs],
        [finite_width_kernel(run) for run in runs],
    )
    aligned, theory = (
        float(alignment(_sample_kernel(dnn_kernel), _sample_kernel(rnn_kernel)))
        for dnn_kernel, rnn_kernel in pairs
    )
    return Finding(
        quantity=f"CKA of both sample kernels at the last step, N = {width_of(runs[0])}",
        theory=theory,
        measured=aligned,
        criterion=f"all {2 * len(expected)} off-diagonal entries have the sign of the product of their "
        f"labels, smallest z-score above {limit:.2f}: {smallest:.1f}",
        holds=smallest > limit,
    )


def kernels_are_the_same(dnn: xr.Dataset | None, rnn: xr.Dataset | None) -> Finding:
    """The difference between the whole kernels of RNN and DNN, against the theory's at this N."""
    first, second = _there(dnn), _there(rnn)
    expected = finite_width_kernel(second) - finite_width_kernel(first)
    measured = second["kernel"].to_numpy() - first["kernel"].to_numpy()
    error = np.hypot(
        *(kernel_entries(run["kernel_standard_error"].to_numpy()) for run in (first, second))
    )
    size = float(np.linalg.norm(first["kernel_theory"].to_numpy()))
    limit = relative_error(second["kernel_theory"].to_numpy(), first["kernel_theory"].to_numpy())
    test = compare(kernel_entries(measured), kernel_entries(expected), error)
    noise = [run["kernel_standard_error"].to_numpy() for run in (first, second)]
    return Finding(
        quantity=f"relative Frobenius difference of H of RNN and DNN, N = {width_of(first)}; error bar: "
        "sampling noise",
        theory=float(np.linalg.norm(expected)) / size,
        measured=float(np.linalg.norm(measured)) / size,
        standard_error=float(np.linalg.norm(np.hypot(*noise))) / size,
        criterion=f"{test.criterion}; in theory for N to infinity the same up to 1e-6: {limit:.1e}",
        holds=test.holds and limit < 1e-6,
        explanation="0 for N to infinity; the theory's value is the 1/N term."
        + _largest(first, test.index, test.holds),
    )


def kernel_agrees(found: xr.Dataset | None) -> Finding:
    """The whole kernel against the theory with its 1/N term, every entry."""
    run = _there(found)
    expected = finite_width_kernel(run)
    measured = run["kernel"].to_numpy()
    error = run["kernel_standard_error"].to_numpy()
    test = compare(kernel_entries(measured), kernel_entries(expected), kernel_entries(error))
    correction = relative_error(expected, run["kernel_theory"].to_numpy())
    return Finding(
        quantity=f"relative Frobenius error of H, N = {width_of(run)}, against N to infinity",
        theory=correction,
        measured=float(run["kernel_relative_error"]),
        standard_error=float(run["kernel_relative_error_standard_error"]),
        criterion=f"against the theory with its 1/N term, {test.criterion}",
        holds=test.holds,
        explanation=f"0 for N to infinity. The 1/N term gives {100 * correction:.1f} %, sampling noise "
        f"{100 * float(run['kernel_relative_error_noise']):.1f} %."
        + _largest(run, test.index, test.holds),
    )


def is_as_coherent_as_theory(found: xr.Dataset | None) -> Finding:
    """Temporal coherence where the theory has none for N to infinity."""
    run = _there(found)
    limit, expected, measured, error = _coherence(run)
    test = compare(np.array(measured), expected, np.array(error))
    return Finding(
        quantity=f"temporal coherence of H_00, N = {width_of(run)}",
        theory=expected,
        measured=measured,
        standard_error=error,
        criterion=f"0 in theory up to 1e-6: {limit:.1e}; at this N, {test.criterion}",
        holds=test.holds and abs(limit) < 1e-6,
        explanation=f"0 for N to infinity; {expected:.3f} is its 1/N term."
        if abs(expected) > 5e-4
        else "",
    )


def is_coherent(found: xr.Dataset | None) -> Finding:
    """Temporal coherence where the theory has it."""
    run = _there(found)
    limit, expected, measured, error = _coherence(run)
    test = compare(np.array(measured), expected, np.array(error))
    from_zero = float(z_scores(np.array(measured), 0.0, np.array(error)))
    return Finding(
        quantity=f"temporal coherence of H_00, N = {width_of(run)}",
        theory=expected,
        measured=measured,
        standard_error=error,
        criterion=f"{test.criterion}; z-score from 0 above {z_limit():.2f}: {from_zero:.1f}",
        holds=test.holds and from_zero > z_limit(),
        explanation=f"{limit:.3f} for N to infinity.",
    )


def has_no_outlier(found: xr.Dataset | None) -> Finding:
    """Eigenvalues beyond the edge of the noise in any spectrum of the run."""
    run = _there(found)
    count, total, edge = _outliers(run)
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {width_of(run)}",
        theory=0.0,
        measured=total / count,
        criterion=f"none in {count} spectra; noise has one in {EDGE_FALSE_ALARM:.0%} of runs",
        holds=total == 0,
        explanation=f"The edge is at {edge:.3f} at this N.",
    )


def has_outlier(found: xr.Dataset | None) -> Finding:
    """More eigenvalues beyond the edge of the noise than noise explains."""
    run = _there(found)
    count, total, edge = _outliers(run)
    # The edge is where EDGE_FALSE_ALARM eigenvalues of noise are expected in the whole run.
    most = int(stats.poisson(EDGE_FALSE_ALARM).isf(FALSE_ALARM))
    empty = int((run["outliers"].to_numpy() == 0).sum())
    theory = weight_eigenvalues(finite_width_kernel(run), _kind(run))
    missing = (
        f" {empty} spectra have none: the outlier fluctuates across the edge at this N."
        if empty
        else ""
    )
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {width_of(run)}",
        theory=float((np.abs(theory) > edge).sum()),
        measured=total / count,
        criterion=f"in {count} spectra more than {most}, which noise exceeds with probability below "
        f"{FALSE_ALARM:.1%}: {total}",
        holds=total > most,
        explanation=f"The edge is at {edge:.3f} at this N.{missing}",
    )


def outlier_position_agrees(found: xr.Dataset | None) -> Finding:
    """Mean modulus of the largest eigenvalue."""
    run = _there(found)
    require(run, "largest_modulus")
    limit = np.abs(weight_eigenvalues(run["kernel_theory"].to_numpy(), _kind(run))).max()
    expected = np.abs(weight_eigenvalues(finite_width_kernel(run), _kind(run))).max()
    measured, error = (
        float(run[f"largest_modulus{end}"].to_numpy()) for end in ("", "_standard_error")
    )
    freedom = run.sizes["chain"] - 1
    test = compare(np.array(measured), float(expected), np.array(error), freedom)
    return Finding(
        quantity=f"modulus of the largest eigenvalue, N = {width_of(run)}",
        theory=float(expected),
        measured=measured,
        standard_error=error,
        criterion=f"{test.criterion}; Student's t, {freedom} degrees of freedom (chains less 1)",
        holds=test.holds,
        explanation=f"{limit:.3f} for N to infinity.",
    )


def samplers_agree(first: xr.Dataset | None, second: xr.Dataset | None) -> Finding:
    """Kernels by both samplers, which share no algorithm, every entry."""
    trained, exact = _there(first), _there(second)
    if width_of(trained) != width_of(exact):
        raise NoDataError("both samplers have different widths")
    measured, other = trained["kernel"].to_numpy(), exact["kernel"].to_numpy()
    errors = [run["kernel_standard_error"].to_numpy() for run in (trained, exact)]
    error = np.hypot(*errors)
    test = compare(kernel_entries(measured), kernel_entries(other), kernel_entries(error))
    return Finding(
        quantity=f"relative Frobenius difference of H, N = {width_of(trained)}; error bar: noise",
        theory=0.0,
        measured=relative_error(measured, other),
        standard_error=float(np.linalg.norm(error) / np.linalg.norm(other)),
        criterion=test.criterion,
        holds=test.holds,
        explanation=_largest(trained, test.index, test.holds).strip(),
    )


def _coherence(run: xr.Dataset) -> tuple[float, float, float, float]:
    """Theory for N to infinity and at this N, measured, standard error."""
    require(run, "temporal_coherence_theory", "temporal_coherence_finite_width")
    names = ("_theory", "_finite_width", "", "_standard_error")
    limit, expected, measured, error = (float(run[f"temporal_coherence{name}"]) for name in names)
    return limit, expected, measured, error


def _outliers(run: xr.Dataset) -> tuple[int, int, float]:
    """Spectra, eigenvalues beyond the edge in all of them, and the edge."""
    require(run, "outliers")
    counts = run["outliers"].to_numpy()
    return counts.size, int(counts.sum()), float(run["noise_edge"])


def _sample_kernel(kernel: Array) -> Array:
    """The sample kernel at the last step as a kernel of one time."""
    return kernel[..., -1:, -1:]


def _largest(run: xr.Dataset, index: int, holds: bool) -> str:
    if holds:
        return ""
    return f" The entry furthest away is {entry_name(run, index)}; of order 1/N^2 nothing is known."


def _kind(run: xr.Dataset) -> Kind:
    kind: Kind = run_of(run)["architecture"]["kind"]
    return kind


def _strong(tasks: Sequence[Task]) -> Task:
    if not tasks:
        raise NoDataError("no task given")
    return max(tasks, key=lambda task: float(np.nansum(task.targets**2)))


def _there(run: xr.Dataset | None) -> xr.Dataset:
    if run is None:
        raise NoDataError("the run is not there")
    return run


def _runs(*found: xr.Dataset | None) -> list[xr.Dataset]:
    return [run for run in found if run is not None]


def claims(results: Results) -> list[Claim]:
    """Stand-in until the branch of the claims is merged."""
    evidence = Evidence(
        measures=tuple(result.data for result in results.runs),
        transitions=tuple(scan.data for scan in results.scans),
        tasks=tuple(result.task for result in results.runs),
    )
    return rows(evidence)
