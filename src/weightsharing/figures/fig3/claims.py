"""Claims of figure 3: what RNNs and DNNs share, and what only RNNs learn from a strong signal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from weightsharing.figures.claims import (
    SAMPLERS,
    Claim,
    Finding,
    claim,
    finite_width_kernel,
    kernel_scale,
    most_of_noise,
    supervised_outputs,
)
from weightsharing.figures.fig3.cells import PANELS, STRENGTHS, cell
from weightsharing.figures.results import ROLES, NoDataError, Result, Results, values_and_errors
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    compare,
    entry_name,
    freedom_of,
    kernel_entries,
    z_limit,
    z_scores,
)
from weightsharing.figures.tables import number
from weightsharing.measures.kernels import alignment, relative_error
from weightsharing.model.architecture import KINDS
from weightsharing.model.axes import Array
from weightsharing.model.task import Task, label_kernels
from weightsharing.theory.outliers import weight_eigenvalues

# The position of an outlier has to be known to this, or it tests nothing.
POSITION_ERROR = 0.03


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    strong = max((run.task for run in results.runs), key=_strength, default=None)
    rows = [
        statement.judge(strong)
        for statement in (inputs_are_orthogonal, labels_have_unit_size, labels_are_at_the_end)
    ]
    for role in ROLES:
        words = {"role": role, "sampler": SAMPLERS[role]}
        pairs = {
            strength: [cell(results, kind, strength, role) for kind in KINDS]
            for strength in STRENGTHS
        }
        rows += [
            sample_kernels_are_similar.judge(*pair, strength=strength, **words)
            for strength, pair in pairs.items()
        ]
        rows.append(kernels_are_the_same.judge(*pairs["weak"], **words))
        for (kind, strength), panel in PANELS.items():
            ordered = (kind, strength) == ("rnn", "strong")
            run = cell(results, kind, strength, role)
            where = f"{kind.upper()}, {strength} signal"
            rows += [
                statement.judge(run, panel=panel, where=where, **words)
                for statement in (ORDERED if ordered else DISORDERED)
            ]
    for (kind, strength), panel in PANELS.items():
        pair = [cell(results, kind, strength, role) for role in ROLES]
        where = f"{kind.upper()}, {strength} signal"
        rows.append(samplers_agree.judge(*pair, panel=panel, where=where))
    return rows


def numbers(claims: Sequence[Claim]) -> list[list[str]]:
    """The rows of the caption's table, for each panel and sampler: error of H, coherence, and theory."""
    known = {claim.id: claim for claim in claims if np.isfinite(claim.measured)}
    rows = []
    for panel, role in product(PANELS.values(), ROLES):
        pair = [known.get(f"3{panel}-{name}-{role}") for name in ("kernel", "coherence")]
        cells = [
            cell
            for one in pair
            for cell in (
                (number(one.measured, one.standard_error), number(one.theory)) if one else "--"
            )
        ]
        if any(pair):
            rows.append([panel, SAMPLERS[role], *cells])
    return rows


def _strength(task: Task) -> float:
    return float(np.nansum(task.targets**2))


# --- panel a ----------------------------------------------------------------------------------------


@claim("3a-inputs", "P = 4 pairwise orthogonal inputs", kind="definition", missing="no task given")
def inputs_are_orthogonal(task: Task) -> Finding:
    """Largest product of two different inputs x_p . x_p' at t = 0."""
    gram = task.inputs[:, 0] @ task.inputs[:, 0].T
    largest = float(np.abs(gram - np.diag(np.diag(gram))).max())
    return Finding(
        quantity=f"largest product of two of the {task.patterns} inputs",
        theory=0.0,
        measured=largest,
        criterion="P = 4, and 0 up to rounding, 1e-12",
        holds=task.patterns == 4 and largest < 1e-12,
    )


@claim(
    "3a-labels",
    "Labels are -1 or 1: entries of the label kernel over samples",
    kind="definition",
    missing="no task given",
)
def labels_have_unit_size(task: Task) -> Finding:
    """Entries of Y_pp'^(TT) of the strong signal."""
    samples = label_kernels(task)[1]
    furthest = float(np.abs(samples).flat[np.abs(np.abs(samples) - 1.0).argmax()])
    return Finding(
        quantity="modulus of the entry of Y_pp' furthest from 1, strong signal",
        theory=1.0,
        measured=furthest,
        criterion="1 up to rounding, 1e-12; both signs occur",
        holds=abs(furthest - 1.0) < 1e-12 and samples.min() < 0,
        explanation="The weak signal has smaller labels, by which it is weak.",
    )


@claim(
    "3a-endpoint",
    "Only the last time is supervised: the label kernel over time has one entry",
    kind="definition",
    missing="no task given",
)
def labels_are_at_the_end(task: Task) -> Finding:
    """Entries of Y_00^(tt') other than the last."""
    temporal = label_kernels(task)[0].copy()
    last = float(temporal[-1, -1])
    temporal[-1, -1] = 0.0
    return Finding(
        quantity="largest entry of Y_00 other than that of t = t' = T",
        theory=0.0,
        measured=float(np.abs(temporal).max()),
        criterion="0, and that of t = t' = T is not",
        holds=not temporal.any() and last > 0,
    )


# --- both networks ----------------------------------------------------------------------------------


@claim(
    "3-samples-{strength}-{role}",
    "DNN and RNN learn similar sample kernels from a {strength} signal; {sampler}",
)
def sample_kernels_are_similar(dnn: Result, rnn: Result) -> Finding:
    """CKA of both sample kernels and their sizes along the labels, against the theory at this N.

    The error of CKA follows from those of the entries, taken as independent.
    """
    labels = np.sign(dnn.array("target")[:, -1])
    upper = np.triu_indices(len(labels), 1)
    expected = np.outer(labels, labels)[upper]

    scores = []
    for run in (dnn, rnn):
        names = ("kernel", "kernel_standard_error")
        measured, error = (run.array(name)[..., -1, -1][upper] for name in names)
        scores.append(z_scores(expected * measured, 0.0, error, freedom=freedom_of([run])))
    smallest = float(np.min(scores))
    # Only one side of the distribution counts, and every entry has to be beyond the limit.
    limit = z_limit(2 * len(expected))
    kernels = [run.array("kernel")[..., -1, -1] for run in (dnn, rnn)]
    errors = [run.array("kernel_standard_error")[..., -1, -1] for run in (dnn, rnn)]
    theories = [finite_width_kernel(run)[..., -1, -1] for run in (dnn, rnn)]
    aligned = _aligned(*kernels)
    shifts = [
        _aligned(*(kernel + (shift if one == which else 0.0) for one, kernel in enumerate(kernels)))
        for which, error in enumerate(errors)
        for shift in _each_entry(error)
    ]
    bar = float(np.linalg.norm(np.array(shifts) - aligned))
    direction = labels / np.linalg.norm(labels)
    along, along_errors = values_and_errors((dnn, rnn), "endpoint_kernel")
    sizes = [float(direction @ theory @ direction) for theory in theories]
    test = compare(
        np.array([aligned, *along]),
        np.array([_aligned(*theories), *sizes]),
        np.array([bar, *along_errors]),
        freedom=freedom_of((dnn, rnn)).min(),
    )
    return Finding.of(
        test,
        f"CKA of both sample kernels at the last step, N = {dnn.width}",
        theory=_aligned(*theories),
        measured=aligned,
        standard_error=bar,
        criterion=f"CKA and sizes along the labels, {test.criterion}; all {2 * len(expected)} "
        "off-diagonal entries have the sign of the product of their labels, smallest z-score above "
        f"{limit:.2f}: {smallest:.1f}",
        holds=test.holds and smallest > limit,
    )


def _aligned(first: Array, second: Array) -> float:
    """CKA of two kernels over samples."""
    return float(alignment(first[..., None, None], second[..., None, None]))


def _each_entry(error: Array) -> Iterator[Array]:
    """Changes of a symmetric kernel by the error of one entry each."""
    for row, column in zip(*np.triu_indices(len(error)), strict=True):
        shift = np.zeros_like(error)
        shift[row, column] = shift[column, row] = error[row, column]
        yield shift


@claim(
    "3-identical-{role}",
    "Below the transition RNN and DNN differ by terms of order 1/N only; {sampler}",
)
def kernels_are_the_same(dnn: Result, rnn: Result) -> Finding:
    """The difference between the whole kernels of RNN and DNN, against the theory's at this N."""
    expected = finite_width_kernel(rnn) - finite_width_kernel(dnn)
    measured = rnn.array("kernel") - dnn.array("kernel")
    error = np.hypot(*(run.array("kernel_standard_error") for run in (dnn, rnn)))
    infinite = dnn.array("kernel_theory")
    size = float(np.linalg.norm(infinite))
    limit = relative_error(rnn.array("kernel_theory"), infinite)
    test = compare(
        *map(kernel_entries, (measured, expected, error)), freedom=freedom_of((dnn, rnn)).min()
    )
    return Finding.of(
        test,
        f"relative Frobenius difference of H of RNN and DNN, N = {dnn.width}; error bar: "
        "sampling noise",
        theory=float(np.linalg.norm(expected)) / size,
        measured=float(np.linalg.norm(measured)) / size,
        standard_error=float(np.linalg.norm(error)) / size,
        criterion=f"{test.criterion}; in theory for N to infinity the same up to 1e-6: {limit:.1e}",
        holds=test.holds and limit < 1e-6,
        explanation="0 for N to infinity; the theory's value is the 1/N term."
        + ("" if test.holds else f" {_furthest(dnn, test.index)}"),
    )


# --- one network ------------------------------------------------------------------------------------


@claim(
    "3{panel}-kernel-{role}",
    "{where}: the kernel is the one predicted by the theory (insets); {sampler}",
)
def kernel_agrees(run: Result) -> Finding:
    """The whole kernel against the theory with its 1/N term, every entry."""
    expected = finite_width_kernel(run)
    test = compare(
        *map(kernel_entries, (run.array("kernel"), expected, run.array("kernel_standard_error"))),
        freedom=freedom_of([run]),
    )
    correction = relative_error(expected, run.array("kernel_theory"))
    noise = run.value("kernel_relative_error_noise")
    return Finding.of(
        test,
        f"relative Frobenius error of H, N = {run.width}, against N to infinity",
        theory=correction,
        measured=run.value("kernel_relative_error"),
        standard_error=run.value("kernel_relative_error_standard_error"),
        criterion=f"against the theory with its 1/N term, {test.criterion}",
        explanation=f"0 for N to infinity. The 1/N term gives {100 * correction:.1f} %, sampling noise "
        f"{100 * noise:.1f} %." + ("" if test.holds else f" {_furthest(run, test.index)}"),
    )


@claim(
    "3{panel}-coherence-{role}",
    "{where}: temporal coherence is the theory's at this N, 0 for wide networks; {sampler}",
    also=("coherence",),
)
def is_as_coherent_as_theory(run: Result) -> Finding:
    """Temporal coherence where the theory has none for N to infinity."""
    limit, expected, measured, error = _coherence(run)
    test = compare(measured, expected, error, freedom=freedom_of([run]))
    return Finding.of(
        test,
        f"temporal coherence of H_00, N = {run.width}",
        criterion=f"0 in theory up to 1e-6: {limit:.1e}; at this N, {test.criterion}",
        holds=test.holds and abs(limit) < 1e-6,
        explanation=f"0 for N to infinity; {expected:.3f} is its 1/N term."
        if abs(expected) > 5e-4
        else "",
    )


@claim("3{panel}-coherence-{role}", "{where}: temporal coherence; {sampler}", also=("coherence",))
def is_coherent(run: Result) -> Finding:
    """Temporal coherence where the theory has it."""
    limit, expected, measured, error = _coherence(run)
    test = compare(measured, expected, error, freedom=freedom_of([run]))
    from_zero = float(z_scores(measured, 0.0, error, freedom=freedom_of([run]))[0])
    return Finding.of(
        test,
        f"temporal coherence of H_00, N = {run.width}",
        criterion=f"{test.criterion}; z-score from 0 above {z_limit():.2f}: {from_zero:.1f}",
        holds=test.holds and from_zero > z_limit(),
        explanation=f"{limit:.3f} for N to infinity.",
    )


def _coherence(run: Result) -> tuple[float, float, float, float]:
    """Theory for N to infinity and at this N, measured, standard error."""
    limit, expected, measured, error = (
        run.value(f"temporal_coherence{end}")
        for end in ("_theory", "_finite_width", "", "_standard_error")
    )
    return limit, expected, measured, error


@claim("3{panel}-disc-{role}", "{where}: no eigenvalue outside the disc; {sampler}")
def has_no_outlier(run: Result) -> Finding:
    """Eigenvalues beyond the edge of the noise in any spectrum of the run."""
    counts = run.array("outliers")
    most = most_of_noise()
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {run.width}",
        theory=0.0,
        measured=int(counts.sum()) / counts.size,
        criterion=f"in {counts.size} spectra at most {most}, which noise exceeds with probability below "
        f"{FALSE_ALARM:.1%}: {int(counts.sum())}",
        holds=counts.sum() <= most,
        explanation=f"The edge is at {run.value('noise_edge'):.3f} at this N.",
    )


@claim("3{panel}-outlier-{role}", "{where}: an eigenvalue outside the disc; {sampler}")
def has_outlier(run: Result) -> Finding:
    """More eigenvalues beyond the edge of the noise than noise explains."""
    counts, edge = run.array("outliers"), run.value("noise_edge")
    total = int(counts.sum())
    most = most_of_noise()
    empty = int((counts == 0).sum())
    missing = f" {empty} spectra have none: the outlier fluctuates across the edge at this N."
    theory = weight_eigenvalues(finite_width_kernel(run), run.kind)
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise per spectrum, N = {run.width}",
        theory=float((np.abs(theory) > edge).sum()),
        measured=total / counts.size,
        criterion=f"in {counts.size} spectra more than {most}, which noise exceeds with probability "
        f"below {FALSE_ALARM:.1%}: {total}",
        holds=total > most,
        explanation=f"The edge is at {edge:.3f} at this N.{missing if empty else ''}",
    )


@claim(
    "3{panel}-position-{role}",
    "{where}: the eigenvalue is where the theory says; {sampler}",
    ours=True,
)
def outlier_position_agrees(run: Result) -> Finding:
    """Mean modulus of the largest eigenvalue."""
    limit, expected = (
        float(np.abs(weight_eigenvalues(kernel, run.kind)).max())
        for kernel in (run.array("kernel_theory"), finite_width_kernel(run))
    )
    measured, error = (run.value(f"largest_modulus{end}") for end in ("", "_standard_error"))
    test = compare(measured, expected, error, freedom=freedom_of([run]))
    return Finding.of(
        test,
        f"modulus of the largest eigenvalue, N = {run.width}",
        criterion=f"{test.criterion}; error below {POSITION_ERROR:g}",
        holds=test.holds and error < POSITION_ERROR,
        explanation=f"{limit:.3f} for N to infinity.",
    )


@claim(
    "3{panel}-size-{role}", "{where}: the kernel has the size predicted by the theory; {sampler}"
)
def size_agrees(run: Result) -> Finding:
    """The size of the kernel along the theory's."""
    return kernel_scale([run])


@claim("3{panel}-output-{role}", "{where}: outputs at t = T are the theory's; {sampler}", ours=True)
def outputs_agree(run: Result) -> Finding:
    """Outputs at the supervised step, every pattern."""
    return supervised_outputs([run])


# The claims about one cell: the strong RNN is beyond its transition, the other networks are not.
ALWAYS = (kernel_agrees, size_agrees, outputs_agree)
ORDERED = (*ALWAYS, is_coherent, has_outlier, outlier_position_agrees)
DISORDERED = (*ALWAYS, is_as_coherent_as_theory, has_no_outlier)


@claim("3{panel}-samplers", "{where}: both samplers have the same kernel", ours=True)
def samplers_agree(trained: Result, exact: Result) -> Finding:
    """Kernels by both samplers, which share no algorithm, every entry."""
    if trained.width != exact.width:
        raise NoDataError("both samplers have different widths")
    measured, other = trained.array("kernel"), exact.array("kernel")
    error = np.hypot(*(run.array("kernel_standard_error") for run in (trained, exact)))
    test = compare(
        *map(kernel_entries, (measured, other, error)), freedom=freedom_of((trained, exact)).min()
    )
    return Finding.of(
        test,
        f"relative Frobenius difference of H, N = {trained.width}; error bar: noise",
        theory=0.0,
        measured=relative_error(measured, other),
        standard_error=float(np.linalg.norm(error) / np.linalg.norm(other)),
        explanation="" if test.holds else _furthest(trained, test.index),
    )


def _furthest(run: Result, index: int) -> str:
    return f"The entry furthest away is {entry_name(run, index)}; of order 1/N^2 nothing is known."
