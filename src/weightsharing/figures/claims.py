"""Claims: the statements of a figure's caption, each declared beside the function that tests it.

    @claim("2b-kernel-exact", "The kernel of the widest networks is the theory's; exact sampler")
    def kernel_agrees(run: Result) -> Finding: ...

``kernel_agrees.judge(run)`` is then a row of the scorecard. A claim holds if its criterion does, but a
claim that rests on a run which did not converge has no verdict but "not converged".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, ParamSpec

import numpy as np
from scipy import stats

from weightsharing.figures.results import NoDataError, Result, Role, Scan, values_and_errors
from weightsharing.figures.statistics import (
    BINS,
    FALSE_ALARM,
    ChiSquare,
    Comparison,
    compare,
    freedom_of,
    histogram,
    kernel_entries,
    z_scores,
)
from weightsharing.measures.equilibrium import IDENTITIES
from weightsharing.measures.phases import LARGEST_EXCESS_ACTION
from weightsharing.measures.spectra import EDGE_FALSE_ALARM
from weightsharing.model.axes import Array

# What a claim compares: arrays of the task with the caption, theory with theory, networks with theory or
# with each other. Only the last can fail because of a network.
Kind = Literal["definition", "theory", "networks"]
KINDS: dict[Kind, str] = {
    "networks": "networks against theory", "theory": "theory against theory",
    "definition": "definitions of the task",
}  # fmt: skip
# Whether a claim restates the paper's caption or abstract, or is one that we add to make it testable.
Origin = Literal["caption", "ours"]
Verdict = Literal["pass", "fail", "not converged", "no data"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "not converged", "no data")
# Words of the sentences: whose measurement a row is. Captions name the dynamics of the training.
SAMPLERS: dict[Role, str] = {"trained": "trained networks", "exact": "exact sampler"}
# Runs that are named if several did not converge.
NAMED_RUNS = 2

Evidence = ParamSpec("Evidence")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was measured for a claim; fields as in ``Claim``. holds: whether the criterion does."""

    quantity: str
    measured: float
    criterion: str
    holds: bool
    theory: float = np.nan
    standard_error: float = np.nan
    explanation: str = ""

    @classmethod
    def of(cls, test: Comparison, quantity: str, **fields: Any) -> Finding:
        """The value of a comparison that deviates most. fields: take the place of the comparison's."""
        values: dict[str, Any] = {
            "theory": test.expected, "measured": test.measured, "standard_error": test.error,
            "criterion": test.criterion, "holds": test.holds,
        }  # fmt: skip
        return cls(quantity=quantity, **values | fields)

    @classmethod
    def of_chi_square(cls, test: ChiSquare, quantity: str, **fields: Any) -> Finding:
        """A chi-square test; fields as in ``of``."""
        values: dict[str, Any] = {
            "theory": float(test.freedom), "measured": test.value,
            "standard_error": float(np.sqrt(2.0 * test.freedom)), "criterion": test.criterion,
            "holds": test.holds,
        }  # fmt: skip
        return cls(quantity=quantity, **values | fields)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row of the scorecard, in the order of its columns.

    id: figure, panel and quantity. panel: "" if the claim is about the whole figure. kind: what is
    compared. claim: the statement. origin: whether the paper's caption says so, or we add it. quantity:
    what was measured for it. theory, measured, standard_error: of that quantity; NaN where there is none.
    criterion: the condition, with its numbers. explanation: known deviations, such as terms of order
    1/N, and the reason of a verdict that is not "pass".
    """

    id: str
    figure: str
    panel: str
    kind: Kind
    claim: str
    origin: Origin = "caption"
    quantity: str = ""
    theory: float = np.nan
    measured: float = np.nan
    standard_error: float = np.nan
    criterion: str = ""
    verdict: Verdict = "no data"
    explanation: str = ""


@dataclass(frozen=True)
class Statement(Generic[Evidence]):
    """A declared claim; called, it is the function that tests it.

    identity: such as "3{panel}-coherence-{role}"; it starts with figure and panel. sentence: what the
    caption says. Both may name words that ``judge`` gets. find: computes the finding, or raises
    NoDataError. kind: what is compared. also: measures of a run that have to have converged besides its
    verdict, such as "coherence". ours: whether we add it to what the caption says. despite_faults:
    whether it is judged though runs did not converge.
    missing: what is not there if a part of the evidence is None or empty.
    """

    identity: str
    sentence: str
    find: Callable[Evidence, Finding]
    kind: Kind = "networks"
    also: tuple[str, ...] = ()
    despite_faults: bool = False
    ours: bool = False
    missing: str = "no run of this network by this sampler"

    def __call__(self, *evidence: Evidence.args, **named: Evidence.kwargs) -> Finding:
        """The finding alone."""
        return self.find(*evidence, **named)

    def judge(self, *evidence: Any, **words: object) -> Claim:
        """The row of the claim. It rests on all results in the evidence.

        words: of id and sentence. One of them, ``ours``, may take the place of the statement's, where the
        paper makes a claim for some cases only.
        """
        ours = words.get("ours", self.ours)
        identity = self.identity.format_map(words)
        # "4a-mean" is of figure 4, "S1a-mean" of figure S1.
        number, panel = re.match(r"(S?\d+)(\w*)", identity).groups()  # type: ignore[union-attr]
        row: dict[str, Any] = {
            "id": identity, "figure": number, "panel": panel, "kind": self.kind,
            "claim": self.sentence.format_map(words), "origin": "ours" if ours else "caption",
        }  # fmt: skip
        try:
            if any(part is None or (isinstance(part, Sequence) and not part) for part in evidence):
                raise NoDataError(self.missing)
            find: Callable[..., Finding] = self.find
            finding = find(*evidence)
        except NoDataError as error:
            return Claim(**row, explanation=f"No data: {error}.")
        values = vars(finding).copy()
        verdict: Verdict = "pass" if values.pop("holds") else "fail"
        runs = [] if self.despite_faults else list(_results(evidence))
        doubts = _doubts(runs, self.also)
        if doubts:
            verdict = "not converged"
        values["explanation"] = " ".join(filter(None, [*doubts, finding.explanation]))
        return Claim(**row, verdict=verdict, **values)


def claim(
    identity: str, sentence: str, **options: Any
) -> Callable[[Callable[Evidence, Finding]], Statement[Evidence]]:
    """Declare that a function tests a claim; arguments as in ``Statement``."""
    return lambda find: Statement(identity, sentence, find, **options)


def _results(evidence: Any) -> Iterator[Result]:
    """All results in nested sequences."""
    if isinstance(evidence, Result):
        yield evidence
    elif isinstance(evidence, list | tuple):
        for part in evidence:
            yield from _results(part)


def _doubts(runs: Sequence[Result], also: Sequence[str]) -> list[str]:
    """Sentences about runs that did not converge; none if all did."""
    failed = [(run, faults) for run in runs if (faults := run.faults_with(*also))]
    if not failed:
        return []
    named = ", ".join(
        f"{run.name} ({', '.join(faults).replace('_', ' ')})" for run, faults in failed[:NAMED_RUNS]
    )
    more = ", ..." if len(failed) > NAMED_RUNS else ""
    count = f"{len(failed)} of {len(runs)} runs did not converge: {named}{more}"
    return [f"{count.removesuffix('.')}.", *(_coexistence(run) for run, _ in failed[:NAMED_RUNS])]


def _coexistence(run: Result) -> str:
    """That a run which did not converge has several phases; empty if it has one."""
    phases = int(run.data.get("phases", 1))
    if phases <= 1:
        return ""
    return (
        f"At N = {run.width} the posterior of {run.name} has {phases} phases, minima "
        f"whose actions differ by less than {LARGEST_EXCESS_ACTION:.2g}/N: wider networks have one."
    )


@claim(
    "{figure}-equilibrium-{role}",
    "The law that is sampled is the posterior: virials, kinetic and loss temperature are 1; {sampler}",
    despite_faults=True,
    ours=True,
)
def in_equilibrium(runs: Sequence[Result]) -> Finding:
    """How many runs are not in equilibrium (THEORY 2). Chains that are too short are no fault here."""
    broken = {run.name: set(run.faults) & set(IDENTITIES) for run in runs}
    named = ", ".join(
        f"{name} ({', '.join(sorted(which))})" for name, which in broken.items() if which
    )
    count = sum(map(bool, broken.values()))
    return Finding(
        quantity=f"runs, of {len(runs)}, whose virials, kinetic or loss temperature are off",
        theory=0.0,
        measured=count,
        criterion="none, within errors and the known bias of the step",
        holds=count == 0,
        explanation=f"Off: {named}." if named else "",
    )


def readout_residual(runs: Sequence[Result]) -> Finding:
    """What sampled outputs add to their mean given the kernel, over all outputs: 0 at any N.

    Their mean given the kernel depends on kappa, the labels and the prior of the readout.
    """
    values = np.stack([run.array("readout_residual") for run in runs])
    errors = np.stack([run.array("readout_residual_standard_error") for run in runs])
    freedom = freedom_of(runs).reshape(-1, *[1] * (values.ndim - 1))
    test = compare(values, 0.0, errors, freedom=freedom)
    run = runs[test.index // values[0].size]
    return Finding.of(
        test,
        f"mean of f - E[f | Phi] where it deviates most, in {run.name}, N = {run.width}",
        explanation="Means over the readout given the kernel are exact at any N.",
    )


def law_is_followed(scan: Scan, runs: Sequence[Result], where: str) -> Finding:
    """Chi-square of histograms of |m| against the law of m at lambda and N of each run.

    where: what differs between the runs, in the plural.
    """
    tests = [
        histogram(np.abs(run.array("order_parameter_draws")), scan.law(run.width, run.signal))
        for run in runs
    ]
    values, freedom = zip(*(test.chi_square for test in tests), strict=True)
    return Finding.of_chi_square(
        ChiSquare(sum(values), sum(freedom)),
        f"chi-square of {BINS} bins of |m| at each of {len(runs)} {where}, N = {span(runs)}",
    )


def most_of_noise(runs: int = 1) -> int:
    """Eigenvalues beyond the edge that noise exceeds in all spectra of the runs with ``FALSE_ALARM``.

    The edge of a run is where EDGE_FALSE_ALARM of them are expected in all its spectra.
    """
    return int(stats.poisson(runs * EDGE_FALSE_ALARM).isf(FALSE_ALARM))


def span(runs: Sequence[Result]) -> str:
    """N of the runs in words: the one there is, or the smallest and the largest."""
    widths = sorted({run.width for run in runs})
    return f"{widths[0]}" + (f" to {widths[-1]}" if len(widths) > 1 else "")


def kernel_scale(runs: Sequence[Result]) -> Finding:
    """<H, H_theory> / |H_theory|^2 with the theory at N: 1. It sees an error that all entries share."""
    measured, error = values_and_errors(runs, "kernel_scale")
    if len(runs) > 1:
        quantity = f"chi-square of the size of H, {len(runs)} sets, N = {runs[0].width}"
        return Finding.of_chi_square(
            ChiSquare.of(z_scores(measured, 1.0, error, freedom=freedom_of(runs))), quantity
        )
    quantity = f"size of H along the theory's at N = {runs[0].width}"
    test = compare(measured, 1.0, error, freedom=freedom_of(runs))
    return Finding.of(test, quantity)


def supervised_outputs(runs: Sequence[Result]) -> Finding:
    """Mean outputs where networks are trained, against the theory with its 1/N term."""
    chosen = [run.array("supervised").astype(bool) for run in runs]
    measured, theory, error = (
        np.concatenate([run.array(name)[at] for run, at in zip(runs, chosen, strict=True)])
        for name in ("output", "output_finite_width", "output_standard_error")
    )
    freedom = np.repeat(freedom_of(runs), [int(at.sum()) for at in chosen])
    test = compare(measured, theory, error, freedom=freedom)
    names = [
        f"t = {time + 1} of {run.name}"
        for run, at in zip(runs, chosen, strict=True)
        for time in np.nonzero(at)[1]
    ]
    return Finding.of(
        test, f"mean output at {names[test.index]}, where it deviates most, N = {runs[0].width}"
    )


def furthest_entry(runs: Sequence[Result]) -> tuple[Comparison, Result, int]:
    """All entries of the kernels of all runs against the theory with its 1/N term.

    Returns the comparison, and run and entry that deviate most. The kernels have one shape.
    """
    measured, theory, error = (
        np.stack([kernel_entries(kernel) for kernel in kernels])
        for kernels in (
            [run.array("kernel") for run in runs],
            [finite_width_kernel(run) for run in runs],
            [run.array("kernel_standard_error") for run in runs],
        )
    )
    test = compare(measured, theory, error, freedom=freedom_of(runs)[:, None])
    index, entry = divmod(test.index, measured.shape[1])
    return test, runs[index], entry


def unsupervised_outputs_vanish(runs: Sequence[Result]) -> Finding:
    """Mean outputs at all unsupervised times of all runs against 0, the mean of the prior.

    Raises NoDataError if all times are supervised.
    """
    free = [(run, time) for run in runs for time in np.flatnonzero(~run.task.supervised[0])]
    if not free:
        raise NoDataError("no unsupervised step")
    values, error = (
        np.array([run.data[name].to_numpy()[0, time] for run, time in free])
        for name in ("output", "output_standard_error")
    )
    test = compare(values, 0.0, error, freedom=freedom_of([run for run, _ in free]))
    run, time = free[test.index]
    return Finding.of(
        test,
        f"mean output at t = {time + 1} of {run.name}, where it deviates most, N = {run.width}",
    )


def finite_width_kernel(run: Result) -> Array:
    """The theory's kernel at the width of the run, with its 1/N term where that is known."""
    known = "kernel_finite_width" in run.data
    return run.array("kernel_finite_width" if known else "kernel_theory")
