"""The page of the review: everything in one HTML file that needs no network, script or font."""

from __future__ import annotations

import base64
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from weightsharing.figures.claims import KINDS, VERDICTS, Claim
from weightsharing.figures.registry import FIGURES
from weightsharing.figures.results import Results
from weightsharing.figures.scorecard import SIGNS
from weightsharing.figures.tables import number
from weightsharing.origin import VERSION, commit_in_words
from weightsharing.review.traces import HEIGHT, WIDTH, slowest

TEMPLATE = Path(__file__).with_name("page.html")
PACKAGES = ("numpy", "scipy", "torch", "numba", "xarray", "arviz-stats", "matplotlib", "snakemake")
# What a reader wants to know first: claims by their ids, and how their numbers read.
GLANCE: dict[str, tuple[str, str]] = {
    "2a-exponent-exact": (r"figure 2: :math:`1 - \mathrm{CKA} \propto N^{\alpha}`",
                          "exponent of networks, exact sampler"),
    "4a-critical-4": (r"figure 4: :math:`\lambda_c`, T = 4",
                      "theory: traced branch; closed form {theory:.4g}"),
    "4a-exponent-4": (r"figure 4: :math:`m \sim (\lambda - \lambda_c)^{\beta}`",
                      "exponent of the theory, no network"),
    "S1a-slope-4": (r"figure S1: :math:`\langle |m| \rangle \propto N^{\gamma}` at :math:`\lambda_c`",
                    "exponent of networks; theory at these N {theory:.4g}"),
    "5d-interpolation-trained": ("figure 5: squared error of RNNs at unsupervised steps",
                                 "relative to predicting 0; theory {theory:.2g}"),
    "3e-coherence-trained": ("figure 3: temporal coherence of trained RNNs, strong signal",
                             "theory at this N {theory:.4g}; of DNNs 0"),
}  # fmt: skip


class Shown(NamedTuple):
    """One figure on the page.

    name: such as "fig4". number, title: its heading. picture: PNG in base64. alt: what it shows, in
    words. caption: HTML. counts: claims by verdict. claims: its rows.
    """

    name: str
    number: str
    title: str
    picture: str
    alt: str
    caption: str
    counts: Mapping[str, int]
    claims: Sequence[Claim]


def page(
    preset: str,
    seed: int,
    results: Results,
    claims: Sequence[Claim],
    pictures: Mapping[str, bytes],
    captions: Mapping[str, str],
    date: str,
) -> str:
    """The page as HTML.

    claims: of all figures. pictures: PNG, by the names of the figures. captions: their
    reStructuredText. date: of the page.
    """
    # Formulas are MathML, which browsers draw themselves.
    figures = [_shown(name, content, captions[name], claims) for name, content in pictures.items()]
    template = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    ).from_string(TEMPLATE.read_text("utf-8"))
    return template.render(
        preset=preset,
        seed=seed,
        figures=figures,
        verdicts=_counts(claims),
        kinds={
            words: _counts([claim for claim in claims if claim.kind == kind])
            for kind, words in KINDS.items()
        },
        origins={
            words: _counts([claim for claim in claims if claim.origin == origin])
            for origin, words in (("caption", "claims of the paper"), ("ours", "rows that we add"))
        },
        glance=list(_glance(claims)),
        signs=SIGNS,
        runs=_runs(results),
        size=(WIDTH, HEIGHT),
        origin={
            "version": f"weightsharing {VERSION}, {commit_in_words()}",
            "date": date,
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
            "commits": ", ".join(
                sorted({str(run.data.attrs["sampling_commit"]) for run in results.runs})
            ),
        },
        number=number,
    )


def html(text: str) -> str:
    """reStructuredText as HTML, with formulas as MathML."""
    settings = {"math_output": "MathML", "report_level": 5, "halt_level": 5, "raw_enabled": False,
                "file_insertion_enabled": False, "initial_header_level": 3}  # fmt: skip
    body: str = publish_parts(text, writer="html5", settings_overrides=settings)["body"]
    return body


def _shown(name: str, picture: bytes, caption: str, claims: Sequence[Claim]) -> Shown:
    """A figure; the caption's first sentence, which is bold, is its title. claims: of all figures."""
    _, title, rest = caption.split("**", 2)
    claims = [claim for claim in claims if claim.figure == FIGURES[name].number]
    return Shown(
        name=name,
        number=FIGURES[name].number,
        title=" ".join(title.split()),
        picture=base64.b64encode(picture).decode(),
        alt=f"Figure {FIGURES[name].number}: {' '.join(title.split())} The caption describes its panels.",
        caption=html(rest),
        counts=_counts(claims),
        claims=claims,
    )


def _counts(claims: Sequence[Claim]) -> dict[str, int]:
    counts = Counter(claim.verdict for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def _glance(claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """Tiles: what a claim is about, its number, and its verdict; none for claims without data."""
    known = {claim.id: claim for claim in claims}
    return [
        {
            "about": html(about),
            "number": number(known[name].measured, known[name].standard_error),
            "words": words.format(theory=known[name].theory),
            "verdict": known[name].verdict,
        }
        for name, (about, words) in GLANCE.items()
        if name in known and not np.isnan(known[name].measured)
    ]


def _runs(results: Results) -> list[dict[str, Any]]:
    """Each run, or family of runs by its slowest member, with its diagnostics and traces."""
    rows = []
    for name, group in groupby(results.runs, lambda run: run.name.partition(" ")[0]):
        members = list(group)
        slow = min(members, key=lambda run: float(run.data.attrs["smallest_effective_size"]))
        rows.append(
            {
                "name": name,
                "member": slow.set_name if len(members) > 1 else "",
                "members": len(members),
                "width": slow.width,
                "sampler": slow.run.sampler.label,
                "chains": slow.run.sampler.chains,
                "rhat": max(float(run.data.attrs["largest_rhat"]) for run in members),
                "effective": float(slow.data.attrs["smallest_effective_size"]),
                "failed": [run.set_name for run in members if not run.converged],
                "seconds": sum(float(run.data.attrs["wall_seconds"]) for run in members),
                "traces": slowest(slow),
            }
        )
    return rows
