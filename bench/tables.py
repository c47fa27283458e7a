"""``python -m bench.tables``: the tables of docs/validation.md, from the results of a preset."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from weightsharing.cli import guarded
from weightsharing.config import load, runs
from weightsharing.figures.fig2.claims import same_width
from weightsharing.figures.fig3.cells import PANELS, cell
from weightsharing.figures.fig4.claims import law_at
from weightsharing.figures.fig4.networks import by_network
from weightsharing.figures.results import ROLES, Result, Results, read_results, values
from weightsharing.figures.scorecard import scorecard, table
from weightsharing.figures.statistics import freedom_of_pairs, within_two_errors, z_scores
from weightsharing.model.architecture import KINDS

NAMES = {"trained": "trained", "exact": "exact sampler"}


def main(words: Sequence[str] | None = None) -> None:
    """Print the tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("results", type=Path, help="folder of a preset, such as results/laptop")
    parser.add_argument("config", type=Path, nargs="+", help="config.yaml and presets over it")
    options = parser.parse_args(words)
    known = runs(load(options.config))
    files = [
        options.results / name / f"{kind}.nc"
        for name in known
        for kind in ("measures", "transition")
    ]
    results = read_results([file for file in files if file.exists()], known)
    for title, rows in (
        ("Scorecard", verdicts(results)),
        ("Figure 2", alignments(results.of_figure("2"))),
        ("Figure 3", cells(results.of_figure("3"))),
        ("Figure 4", order_parameters(results.of_figure("4"))),
        ("Figure 5", agreement(results.of_figure("5"))),
    ):
        markdown = pd.DataFrame(rows).fillna("").to_markdown(index=False, disable_numparse=True)
        print(f"## {title}\n\n{markdown}\n")
    for number in ("2", "3", "4", "5", "S1"):
        chosen = [run for run in results.of_figure(number).runs if "untrained" not in run.name]
        print(f"Figure {number}: {diagnostics(chosen)}")


def with_error(value: float, error: float) -> str:
    """A value and its error in the last two digits, as in 1.234(12)."""
    digits = max(0, 1 - int(np.floor(np.log10(error)))) if error > 0 else 3
    return f"{value:.{digits}f}({round(error * 10**digits)})"


def measured(run: Result, name: str) -> str:
    """A scalar measure with its standard error."""
    return with_error(run.value(name), run.value(f"{name}_standard_error"))


def percent(run: Result, name: str) -> str:
    """A relative error in percent, with its own."""
    value, error = (100.0 * run.value(f"{name}{end}") for end in ("", "_standard_error"))
    return f"{value:.1f} +- {error:.1f} %"


def verdicts(results: Results) -> Iterator[dict[str, object]]:
    """Rows of the scorecard by kind and verdict."""
    claims = table(scorecard(results))
    for kind, rows in claims.groupby("kind"):
        yield {"kind": kind, "rows": len(rows)} | rows.verdict.value_counts().to_dict()


def alignments(results: Results) -> Iterator[dict[str, object]]:
    """1 - CKA of both samplers at each N."""
    by_role = {role: {run.width: run for run in results.select(role=role)} for role in ROLES}
    pairs = {
        pair[0].width: pair for pair in same_width(*(results.select(role=role) for role in ROLES))
    }
    for width in sorted(set().union(*by_role.values())):
        row: dict[str, object] = {"N": width}
        for role, found in by_role.items():
            if width in found:
                run = found[width]
                error = run.value("alignment_standard_error")
                row[NAMES[role]] = with_error(1.0 - run.value("alignment"), error)
        if width in pairs:
            row["z"] = score(*pairs[width], "alignment")
        yield row


def score(first: Result, second: Result, name: str) -> str:
    """The z-score of the difference of a scalar measure between two runs."""
    one, other = (run.value(f"{name}_standard_error") for run in (first, second))
    freedom = freedom_of_pairs([(first, second)])
    z = z_scores(first.value(name), second.value(name), np.hypot(one, other), freedom=freedom)
    return f"{z[0]:+.1f}"


def cells(results: Results) -> Iterator[dict[str, object]]:
    """Errors of kernels, coherence and outliers of each cell of figure 3."""
    for kind, strength in PANELS:
        for role in ROLES:
            run = cell(results, kind, strength, role)
            if run is not None:
                yield {
                    "": f"{kind.upper()}, {strength}",
                    "sampler": NAMES[role],
                    "H_00": percent(run, "temporal_kernel_relative_error"),
                    "H^(T-1,T-1)": percent(run, "sample_kernel_relative_error"),
                    "whole H": percent(run, "kernel_relative_error"),
                    "noise": f"{100.0 * run.value('kernel_relative_error_noise'):.1f} %",
                    "coherence": measured(run, "temporal_coherence"),
                    "theory": f"{run.value('temporal_coherence_theory'):.3f}",
                    f"theory, N = {run.width}": f"{run.value('temporal_coherence_finite_width'):.3f}",
                    "outliers": f"{run.array('outliers').mean():.2g}",
                }


def order_parameters(results: Results) -> Iterator[dict[str, object]]:
    """|m| of RNNs at each lambda, by both samplers, beside the law of m."""
    scan = next(scan for scan in results.scans if scan.transition.width is not None)
    trained, exact = (
        by_network(results.select(role=role)).get(("rnn", scan.depth), []) for role in ROLES
    )
    means, _, deviations = law_at(scan, trained)
    for pair, mean, deviation in zip(
        zip(trained, exact, strict=True), means, deviations, strict=True
    ):
        row: dict[str, object] = {
            "lambda": f"{pair[0].signal:.3g}",
            "theory, infinite N": f"{pair[0].value('order_parameter_theory'):.2f}",
            f"theory, N = {pair[0].width}": f"{mean:.3f}",
            "fluctuation, theory": f"{deviation:.2f}",
        }
        for role, run in zip(ROLES, pair, strict=True):
            row[NAMES[role]] = measured(run, "order_parameter")
            row[f"fluctuation, {NAMES[role]}"] = with_error(
                *(run.value(f"order_parameter_deviation{end}") for end in ("", "_error"))
            )
        yield row


def agreement(results: Results) -> Iterator[dict[str, object]]:
    """Generalisation errors of all sets against the theory."""
    for kind in KINDS:
        for role in ROLES:
            sets = [
                run for run in results.select(kind=kind, role=role) if "untrained" not in run.name
            ]
            if sets:
                yield {
                    "": f"{kind.upper()}, {NAMES[role]}",
                    "sets": len(sets),
                    "converged": sum(run.converged for run in sets),
                    "largest R-hat": f"{max(run.data.attrs['largest_rhat'] for run in sets):.3f}",
                    "within 2 standard errors of the theory for N to infinity": inside(
                        sets, "theory"
                    ),
                    "the same with its 1/N term": int(within_two_errors(sets).sum()),
                }


def inside(sets: Sequence[Result], theory: str) -> int:
    """How many generalisation errors are within two standard errors of a theory."""
    expected, error = (
        values(sets, f"generalisation_error_{end}") for end in (theory, "standard_error")
    )
    return int((np.abs(values(sets, "generalisation_error") - expected) < 2.0 * error).sum())


def diagnostics(results: Sequence[Result]) -> str:
    """R-hat, effective sample size and convergence in words."""
    rhat = max(run.data.attrs["largest_rhat"] for run in results)
    size = min(run.data.attrs["smallest_effective_size"] for run in results)
    count = sum(run.converged for run in results)
    words = f"{count} of {len(results)} converged; R-hat <= {rhat:.3f}"
    return f"{words}, effective sample size >= {size:.0f}"


if __name__ == "__main__":
    sys.exit(guarded(main))
