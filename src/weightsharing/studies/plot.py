"""The picture of a study: lines and symbols over one axis, or a map over two."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.errors import ConfigError
from weightsharing.figures.style import MARKERS, colours, page_figure
from weightsharing.studies.section import Span, Study, values_of

WORDS = {
    "signal": r"signal strength $\lambda$", "kappa": r"temperature $\kappa$", "steps": "steps $T$",
    "w": "$w$", "u": "$u$", "v": "$v$", "period": "period", "width": "width $N$",
    "order_parameter": "order parameter $m$", "endpoint_kernel": "$H^{T-1,T-1}$ along the labels",
    "temporal_coherence": "temporal coherence", "target_alignment": "alignment of $H$ with the targets",
    "generalisation_error": "generalisation error", "largest_eigenvalue": "largest eigenvalue, modulus",
    "action": "action per unit",
}  # fmt: skip
NOT_CONVERGED = "tab:red"
# What a map shows beside its colours.
TRANSITIONS = {"critical_signal": ("-", r"$\lambda_c$"), "coexistence_signal": (":", "coexistence")}


def draw(dataset: xr.Dataset, study: Study) -> Figure:
    """The quantity of the study against its first axis; a map if two axes have no samplers.

    dataset: of ``collect``. With samplers and two axes, each value of the second has a colour. Theory
    that did not converge is not drawn but counted. Raises ConfigError if neither theory nor samplers
    have the quantity.
    """
    theory = f"{study.quantity}_theory"
    if theory not in dataset and study.quantity not in dataset:
        raise ConfigError(f"quantity: this task has no {study.quantity}")
    figure = _drawn(_converged(dataset, theory), study, theory)
    missing = int((dataset["converged"] != 1).sum())
    if missing:
        words = (
            f"theory did not converge at {missing} of {dataset['converged'].size} points, not shown"
        )
        figure.text(0.995, 0.005, words, ha="right", va="bottom", fontsize=6.5, color=NOT_CONVERGED)
    return figure


def _converged(dataset: xr.Dataset, theory: str) -> xr.Dataset:
    """The dataset without the theory's values where it did not converge."""
    if theory not in dataset:
        return dataset
    return dataset.assign({theory: dataset[theory].where(dataset["converged"] == 1)})


def _drawn(dataset: xr.Dataset, study: Study, theory: str) -> Figure:
    """Lines and symbols, or maps."""
    if len(study.axes) == 2 and not study.samplers:
        return _maps(dataset, study, theory)
    figure = page_figure(height=2.8)
    axes = figure.subplots(1, len(study.networks), sharey=True, squeeze=False)[0]
    first, *rest = study.grid
    for index, panel in enumerate(axes):
        one = dataset.isel(network=index)
        _lines(panel, one, study, first, rest[0] if rest else None)
        panel.set_title(str(one["network"].item()))
        panel.set_xlabel(WORDS[first])
        if _is_logarithmic(study, first):
            panel.set_xscale("log")
    axes[0].set_ylabel(WORDS[study.quantity])
    axes[0].legend(fontsize=6.5)
    return figure


def _lines(panel: Axes, one: xr.Dataset, study: Study, first: str, second: str | None) -> None:
    """Theory as lines and samplers as symbols of one network, a colour for each value of ``second``."""
    theory = f"{study.quantity}_theory"
    along = study.sampled_axes.get(second or "", (None,))
    for value, colour in zip(along, colours(len(along)), strict=True):
        name = "" if value is None else f"{WORDS[second or '']} = {value:g}"
        if theory in one:
            line = one[theory]
            if second in line.dims:
                line = line.sel({second: value}, method="nearest")
            if first in line.dims:
                panel.plot(one[first], line, color=colour, label=f"theory {name}".strip())
            elif line.ndim == 0:  # N does not change it
                panel.axhline(
                    float(line), color=colour, linewidth=1.0, label=f"theory {name}".strip()
                )
        for number, sampler in enumerate(study.samplers if study.quantity in one else ()):
            shown = one.isel(sampler=number)
            if second is not None:
                shown = shown.sel({f"sampled_{second}": value})
            label = f"{one['sampler'].to_numpy()[number]} {name}".strip()
            good = shown["converged_samples"].to_numpy().astype(bool)
            for chosen, face in ((good, colour), (~good, "white")):
                if chosen.any():
                    panel.errorbar(
                        one[f"sampled_{first}"].to_numpy()[chosen],
                        shown[study.quantity].to_numpy()[chosen],
                        yerr=shown[f"{study.quantity}_standard_error"].to_numpy()[chosen],
                        color=colour, markerfacecolor=face, linestyle="none",
                        marker=MARKERS[sampler.method], markersize=4,
                        label=label if face != "white" else f"{label}, not converged",
                    )  # fmt: skip


def _maps(dataset: xr.Dataset, study: Study, theory: str) -> Figure:
    """A map of each network over both axes, with the transitions as lines."""
    figure = page_figure(height=2.8)
    panels = figure.subplots(1, len(study.networks), sharey=True, squeeze=False)[0]
    first, second = study.axes
    values = dataset[theory].to_numpy()
    limits = {"vmin": float(np.nanmin(values)), "vmax": float(np.nanmax(values))}
    for index, panel in enumerate(panels):
        one = dataset.isel(network=index)
        mesh = panel.pcolormesh(
            one[first], one[second], one[theory].transpose(second, first), shading="nearest",
            cmap="viridis", **limits,
        )  # fmt: skip
        for axis, scale in ((first, panel.set_xscale), (second, panel.set_yscale)):
            if _is_logarithmic(study, axis):
                scale("log")
        panel.set_xlabel(WORDS[first])
        panel.set_title(str(one["network"].item()))
        _transitions(panel, one, first, second)
    panels[0].set_ylabel(WORDS[second])
    figure.colorbar(mesh, ax=list(panels), label=WORDS[study.quantity])
    return figure


def _transitions(panel: Axes, one: xr.Dataset, first: str, second: str) -> None:
    """lambda_c and coexistence, where one axis is the signal."""
    shown = False
    limits = panel.get_xlim(), panel.get_ylim()
    for name, (style, label) in TRANSITIONS.items():
        if name not in one or not np.isfinite(one[name]).any():
            continue
        other = second if first == "signal" else first
        line = one[other], one[name]
        x, y = line[::-1] if first == "signal" else line
        panel.plot(x, y, linestyle=style, color="white", label=label)
        shown = True
    panel.set(xlim=limits[0], ylim=limits[1])
    if shown:
        panel.legend(fontsize=6.5, labelcolor="white", loc="lower left")


def _is_logarithmic(study: Study, axis: str) -> bool:
    """Whether the values grow by equal ratios."""
    span = study.grid.get(axis)  # type: ignore[call-overload]
    if isinstance(span, Span):
        return span.spacing == "log"
    values = values_of(study.grid, axis)
    return len(values) > 2 and max(values) / min(values) > 30.0
