"""Whether the chains behind a figure converged, in words, for its footer and its caption."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from weightsharing.figures.results import Result

# More names than this are counted, not listed.
MOST_NAMES = 6


def failures(runs: Sequence[Result], *measures: str) -> str:
    """The runs that did not converge; of a family its members, or their number if they are many.

    Empty if all converged. measures: such as "alignment", which have to have converged besides the
    verdict of a run.
    """
    parts = []
    for name, members in groupby(runs, lambda run: run.name.partition(" ")[0]):
        family = list(members)
        failed = [run for run in family if run.faults_with(*measures)]
        if not failed:
            continue
        short = name.partition("/")[2]
        if len(family) > 1:
            listed = ", ".join(run.set_name for run in failed)
            short += (
                f" ({listed if len(failed) <= MOST_NAMES else f'{len(failed)} of {len(family)}'})"
            )
        parts.append(short)
    return "; ".join(parts)


def convergence(runs: Sequence[Result], *measures: str) -> str:
    """A sentence on the chains of all runs: their diagnostics, or which did not converge."""
    failed = failures(runs, *measures)
    if failed:
        return f"NOT CONVERGED (hollow symbols), by R-hat or effective sample size: {failed}."
    rhats = [float(run.data.attrs["largest_rhat"]) for run in runs]
    effective = [float(run.data.attrs["smallest_effective_size"]) for run in runs]
    for name in measures:  # of some only the verdict is kept
        kept = [run for run in runs if f"{name}_rhat" in run.data]
        rhats += [run.value(f"{name}_rhat") for run in kept]
        effective += [run.value(f"{name}_effective_size") for run in kept]
    return (
        f"All runs converged: R-hat is at most {max(rhats):.3f} and the effective sample size at least "
        f"{min(effective):.0f}."
    )
