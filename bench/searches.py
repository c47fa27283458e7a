"""``python -m bench.searches``: which minima of the action a search with fewer starts misses (THEORY 3).

Random sets of figure 5's task. Minima are those that any turning kernel reaches, of five correlations and
nine angles.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from weightsharing.cli import guarded
from weightsharing.config import Config, load, runs
from weightsharing.sampling.run import Run
from weightsharing.theory import search
from weightsharing.theory.action import action, lowest_curvature
from weightsharing.theory.minimiser import minimise
from weightsharing.theory.problem import LinearProblem, linear_problem

CORRELATIONS = (0.5, 0.65, 0.8, 0.95, 0.99)
# Actions closer than this are of one minimum.
SAME_ACTION = 1e-6


def main() -> None:
    """Print the minima that starts of one or two correlations miss, over sets of several root seeds."""
    parser = argparse.ArgumentParser(prog="python -m bench.searches", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+", help="root seeds of the random sets")
    shipped = load([Path("config.yaml")])
    problems = [
        problem
        for seed in parser.parse_args().seeds
        for problem in problems_of(shipped.model_copy(update={"seed": seed}))
    ]
    reached = [{r: minima(problem, r) for r in CORRELATIONS} for problem in problems]
    print(f"{len(problems)} sets, {sum(len(known(one, CORRELATIONS)) for one in reached)} minima")
    for starts in [(r,) for r in CORRELATIONS] + [search.CORRELATIONS]:
        missed = [known(one, CORRELATIONS) - known(one, starts) for one in reached]
        lowest = sum(
            min(known(one, CORRELATIONS)) in lost for one, lost in zip(reached, missed, strict=True)
        )
        print(f"r = {starts}: {sum(map(len, missed))} missed, the lowest of {lowest} sets")


def problems_of(config: Config) -> list[LinearProblem]:
    """The problems of the RNNs of figure 5."""
    run = runs(config)["fig5/rnn"]
    assert isinstance(run, Run)
    return [
        linear_problem(member.tasks[0], member.architecture, member.kappa) for member in run.members
    ]


def minima(problem: LinearProblem, correlation: float) -> frozenset[int]:
    """The minima that turning kernels of one correlation reach, by their actions, rounded."""
    starts = [search.coherent_start(problem, correlation, angle) for angle in search.TURNS]
    kernels = [minimise(problem, start) for start in starts]
    return frozenset(
        round(action(problem, kernel) / SAME_ACTION)
        for kernel in kernels
        if lowest_curvature(problem, kernel)[0] > 0
    )


def known(reached: dict[float, frozenset[int]], correlations: tuple[float, ...]) -> frozenset[int]:
    """The minima that starts of any of these correlations reach."""
    return frozenset().union(*(reached[r] for r in correlations))


if __name__ == "__main__":
    sys.exit(guarded(main))
