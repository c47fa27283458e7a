"""The grey lines under the figures: how networks were sampled, and whether all chains converged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from weightsharing.figures.results import Result
from weightsharing.figures.style import SAMPLER_NAMES, STEP_NAMES
from weightsharing.sampling.settings import DynamicsSettings


def write_conditions(figure: Figure, lines: Iterable[str], size: float = 6) -> None:
    """The lines under the panels. size: of the font, in points."""
    figure.supxlabel("\n".join(lines), fontsize=size, color="0.25")


def names(runs: Sequence[Result]) -> str:
    """Names of the samplers of the runs."""
    return "/".join(sorted({SAMPLER_NAMES[run.method] for run in runs}))


def span(values: Iterable[float]) -> str:
    """The one value there is, or the smallest and the largest."""
    different = sorted(set(values))
    ends = different[:1] + different[1:][-1:]
    return "-".join(f"{value:g}" for value in ends)


def chains(runs: Sequence[Result]) -> str:
    """Number of chains."""
    return f"{span(run.run.sampler.chains for run in runs)} chains"


def size(runs: Sequence[Result]) -> str:
    """N and the number of chains."""
    return f"$N = {span(run.width for run in runs)}$, {chains(runs)}"


def step_size(runs: Sequence[Result]) -> str:
    """Step size of the dynamics, after a comma; empty without dynamics."""
    dynamics = _dynamics(runs)
    if not dynamics:
        return ""
    return f", ${_symbol(runs)} = {span(settings.step_size for settings in dynamics)}$"


def schedule(runs: Sequence[Result]) -> str:
    """Step size, burn-in and duration of the dynamics, after a comma; empty without dynamics."""
    dynamics = _dynamics(runs)
    if not dynamics:
        return ""
    burn_in, duration = (
        span(getattr(settings, name) for settings in dynamics) for name in ("burn_in", "duration")
    )
    return rf"{step_size(runs)}, ${_symbol(runs)}\times$steps $= {burn_in}$ (burn-in) + {duration}"


def diagnostics(rhats: Iterable[float], effective_sizes: Iterable[float]) -> str:
    """The worst R-hat and effective sample size."""
    rhat, smallest = max(rhats), min(effective_sizes)
    return rf"$\hat R \leq {rhat:.3f}$, effective sample size $\geq {smallest:.0f}$"


def run_diagnostics(runs: Sequence[Result]) -> str:
    """The worst R-hat and effective sample size of all judged scalars."""
    attributes = [run.data.attrs for run in runs]
    return diagnostics(
        (float(attrs["largest_rhat"]) for attrs in attributes),
        (float(attrs["smallest_effective_size"]) for attrs in attributes),
    )


def _dynamics(runs: Sequence[Result]) -> list[DynamicsSettings]:
    settings = [run.run.sampler for run in runs]
    return [sampler for sampler in settings if isinstance(sampler, DynamicsSettings)]


def _symbol(runs: Sequence[Result]) -> str:
    return "/".join(sorted({STEP_NAMES[run.method] for run in runs}))
