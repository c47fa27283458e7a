"""Claims of figure 1: what weight sharing does in both kinds of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from weightsharing.figures.claims import (
    Claim,
    Finding,
    claim,
    furthest_entry,
    span,
    unsupervised_outputs_vanish,
)
from weightsharing.figures.fig1.cells import cells
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    compare,
    entry_name,
    freedom_of,
    freedom_of_pairs,
    z_scores,
)
from weightsharing.model.architecture import KINDS

Runs = Sequence[Result]
# Two solvers of one theory agree to this fraction of the kernel.
SAME = 1e-6


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    endpoint = {kind: cells(results, "endpoint", kind) for kind in KINDS}
    sequence = {kind: cells(results, "sequence", kind) for kind in KINDS}
    below, above = ({kind: runs[at : at + 1] for kind, runs in endpoint.items()} for at in (0, 1))
    every = [*endpoint["dnn"], *endpoint["rnn"]]
    return [
        kernels_coincide.judge(below["dnn"], below["rnn"]),
        kernels_agree.judge(every),
        rnn_is_coherent.judge(above["dnn"], above["rnn"]),
        dnn_is_not_coherent.judge(above["dnn"]),
        outputs_agree.judge([*sequence["dnn"], *sequence["rnn"]]),
        rnn_interpolates.judge(sequence["dnn"], sequence["rnn"]),
        dnn_regresses_to_the_mean.judge(sequence["dnn"]),
    ]


@claim("1b-same", "Below lambda_c the kernels of RNNs and DNNs coincide", kind="theory")
def kernels_coincide(dnn: Runs, rnn: Runs) -> Finding:
    """Largest difference of both kernels for N to infinity, relative to the largest entry."""
    first, second = (runs[0].array("kernel_theory") for runs in (dnn, rnn))
    difference = float(np.abs(first - second).max() / np.abs(first).max())
    return Finding(
        quantity="largest difference of both kernels in theory, relative to the largest entry",
        theory=0.0,
        measured=difference,
        criterion=f"below {SAME:g}, up to which a solver converges",
        holds=difference < SAME,
    )


@claim(
    "1b-kernels",
    "Kernels on both sides of lambda_c are the theory's at this N; exact sampler",
    ours=True,
)
def kernels_agree(runs: Runs) -> Finding:
    """Every entry of the kernels of both networks against the theory with its 1/N term."""
    test, run, entry = furthest_entry(runs)
    name = entry_name(run, entry)
    return Finding.of(test, f"H at {name} of {run.name}, where it deviates most, N = {run.width}")


@claim("1b-coherent", "Above lambda_c RNNs are coherent over time, DNNs less; exact sampler",
       also=("coherence",))  # fmt: skip
def rnn_is_coherent(dnn: Runs, rnn: Runs) -> Finding:
    """Temporal coherence of the RNN less that of the DNN, above 0."""
    return _more(
        rnn[0], dnn[0], "temporal_coherence", "temporal coherence of the RNN less the DNN's"
    )


@claim("1b-incoherent", "Above lambda_c DNNs are not coherent over time; exact sampler",
       also=("coherence",))  # fmt: skip
def dnn_is_not_coherent(runs: Runs) -> Finding:
    """Temporal coherence of the DNN against 0, which the sign of each matrix makes it at any N."""
    (run,) = runs
    error = run.value("temporal_coherence_standard_error")
    test = compare(run.value("temporal_coherence"), 0.0, error, freedom=freedom_of(runs))
    return Finding.of(test, f"temporal coherence of the DNN, N = {run.width}")


@claim("1c-outputs", "Outputs are the theory's at this N at all times; exact sampler", ours=True)
def outputs_agree(runs: Runs) -> Finding:
    """Mean outputs at supervised and at other times, both networks."""
    measured, theory, error = (
        np.concatenate([run.array(name)[0] for run in runs])
        for name in ("output", "output_finite_width", "output_standard_error")
    )
    steps = measured.size // len(runs)
    test = compare(measured, theory, error, freedom=np.repeat(freedom_of(runs), steps))
    index, time = divmod(test.index, steps)
    return Finding.of(
        test, f"mean output at t = {time + 1} of {runs[index].name}, where it deviates most, "
        f"N = {span(runs)}",
    )  # fmt: skip


@claim("1c-interpolation", "RNNs generalise to unsupervised steps better than DNNs; exact sampler")
def rnn_interpolates(dnn: Runs, rnn: Runs) -> Finding:
    """Generalisation error of the DNN less that of the RNN, above 0."""
    return _more(
        dnn[0], rnn[0], "generalisation_error", "generalisation error of the DNN less the RNN's"
    )


@claim("1c-regression", "DNNs predict 0 at unsupervised steps; exact sampler")
def dnn_regresses_to_the_mean(runs: Runs) -> Finding:
    """Mean outputs of the DNN at unsupervised times."""
    return unsupervised_outputs_vanish(runs)


def _more(larger: Result, smaller: Result, name: str, quantity: str) -> Finding:
    """Whether a measure of one run exceeds that of another, beyond chance."""
    difference = larger.value(name) - smaller.value(name)
    errors = [run.value(f"{name}_standard_error") for run in (larger, smaller)]
    error = float(np.linalg.norm(errors))
    freedom = freedom_of_pairs([(larger, smaller)])
    z = float(np.ravel(z_scores(difference, 0.0, error, freedom=freedom))[0])
    limit = float(stats.norm.isf(FALSE_ALARM))
    return Finding(
        quantity=f"{quantity}, N = {span([larger, smaller])}",
        theory=larger.value(f"{name}_theory") - smaller.value(f"{name}_theory"),
        measured=difference,
        standard_error=error,
        criterion=f"z-score above {limit:.2f}: {min(z, 30.0):.1f}{' or more' if z > 30.0 else ''}",
        holds=z > limit,
        explanation="Theory: N to infinity.",
    )
