"""The pages of the review: numbers with errors, traces, and the page with sliders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import framed, needs_chromium, scripted, titled

from weightsharing.figures.tables import number
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.review import explore
from weightsharing.review.page import html
from weightsharing.review.traces import autocorrelation
from weightsharing.theory.transition import critical_signal


@pytest.mark.parametrize(("value", "error", "text"), [
    (-0.9961, 0.0062, "-0.996(6)"), (2.5263, 0.0112, "2.526(11)"), (0.03, 0.0151, "0.030(15)"),
    (1234.6, 31.0, "1235(31)"), (0.5, np.nan, "0.5"), (2.632238, 0.0, "2.632"), (np.nan, 1.0, ""),
    (0.0, 0.0299, "0.00(3)"),
])  # fmt: skip
def test_numbers_with_their_errors(value: float, error: float, text: str) -> None:
    assert number(value, error) == text


def test_captions_become_html_without_scripts() -> None:
    page = html(r"**(a)** :math:`\lambda_c` <script>alert(1)</script>")
    assert "<math" in page
    assert "<script" not in page


def test_autocorrelation_of_an_autoregressive_process(generator: np.random.Generator) -> None:
    """0.8 to the power of the lag, within four standard errors of Bartlett's formula."""
    chains, draws, keep = 8, 4000, 0.8
    values = np.zeros((chains, draws))
    noise = generator.standard_normal((chains, draws))
    for draw in range(1, draws):
        values[:, draw] = keep * values[:, draw - 1] + noise[:, draw]
    found = autocorrelation(values[:, 100:])[:10]
    error = np.sqrt((1 + keep**2) / (1 - keep**2) / (chains * draws))
    np.testing.assert_allclose(found, keep ** np.arange(10.0), atol=4 * error)
    assert autocorrelation(np.ones((2, 5))).tolist() == [0.0] * 5


@pytest.fixture(scope="module")
def slices() -> list[explore.Slice]:
    """A small grid."""
    with pytest.MonkeyPatch.context() as patch:
        for name, values in (("STEPS", (3, 4)), ("KAPPAS", (0.1,)), ("WIDTHS_OF_NOISE", (0.5, 1.0)),
                             ("RATIOS", (0.5, 1.0, 2.0))):  # fmt: skip
            patch.setattr(explore, name, values)
        return [explore._slice(point) for point in ((3, 0.1, 0.5), (3, 0.1, 1.0), (4, 0.1, 0.5),
                                                    (4, 0.1, 1.0))]  # fmt: skip


def test_grid_is_that_of_the_theory(slices: list[explore.Slice]) -> None:
    """Below lambda_c both networks are the same; above it F(m) is lowest where the theory is."""
    one = slices[3]
    prior = Prior(w=1.0, u=1.0, v=1.0)
    assert one.critical == critical_signal(4, prior, 0.1)
    assert Architecture(kind="rnn", steps=4, prior=prior).steps == len(
        one.networks["rnn"][0].outputs
    )
    below, _, above = zip(one.networks["rnn"], one.networks["dnn"], strict=True)
    np.testing.assert_allclose(below[0].kernel, below[1].kernel, atol=1e-6)
    assert above[0].kernel[-1, -2] > 1.0
    assert above[1].kernel[-1, -2] == pytest.approx(0.0, abs=1e-9)
    assert one.order_parameter[2] == above[0].kernel[-1, -2]
    spacing = one.grid[1]
    assert one.grid[one.action[2].argmin()] == pytest.approx(one.order_parameter[2], abs=spacing)
    assert one.action[0].argmin() == 0


@pytest.fixture
def text(slices: list[explore.Slice], monkeypatch: pytest.MonkeyPatch) -> str:
    """The page of the small grid."""
    monkeypatch.setattr(explore, "STEPS", (3, 4))
    monkeypatch.setattr(explore, "KAPPAS", (0.1,))
    monkeypatch.setattr(explore, "WIDTHS_OF_NOISE", (0.5, 1.0))
    monkeypatch.setattr(explore, "RATIOS", (0.5, 1.0, 2.0))
    return explore.page(slices)


@needs_chromium
@pytest.mark.parametrize("width", [1920, 1366, 420])
def test_panels_of_the_page_with_sliders_are_whole(text: str, tmp_path: Path, width: int) -> None:
    """Each is as wide as its canvas, which holds its frame; nothing is wider than the window."""
    script = """
    setTimeout(() => {
      const panels = [...Bokeh.index.query(view => view.model.type === "Figure")].map(view => ({
        ...view.el.getBoundingClientRect().toJSON(), frame: view.frame.bbox.right,
        canvas: view.canvas_view.el.getBoundingClientRect().width}))
      const sideways = document.documentElement.scrollWidth
      parent.postMessage(JSON.stringify({panels, sideways}), "*")
    }, 1500)
    """
    seen = titled(framed(scripted(text, script, tmp_path / "page.html"), width), tmp_path)
    assert seen["sideways"] <= width
    assert len(seen["panels"]) == 6
    for panel in seen["panels"]:
        assert panel["frame"] <= panel["canvas"] == panel["width"]
        assert panel["left"] >= 0
        assert panel["right"] <= width


@needs_chromium
def test_sliders_move_all_panels(text: str, slices: list[explore.Slice], tmp_path: Path) -> None:
    """Offline, in a browser: from the first picture to another signal strength and T."""
    assert len(text) < 5e6
    script = """
    const seen = []
    addEventListener("error", event => seen.push(event.message))
    const look = document => Object.fromEntries(["rnn_kernel", "present", "landau"].map(name =>
      [name, document.get_model_by_name(name).data]))
    setTimeout(() => {
      const document_ = Bokeh.documents[0]
      const pictures = [look(document_)]
      document_.get_model_by_name("signal").value = 0
      document_.get_model_by_name("T").active = 0
      setTimeout(() => {
        pictures.push(look(document_))
        document.title = JSON.stringify({pictures, seen})
      }, 500)
    }, 1500)
    """
    found = titled(scripted(text, script, tmp_path / "page.html"), tmp_path)
    assert found["seen"] == []
    first, second = found["pictures"]
    assert len(first["rnn_kernel"]["value"]) == 16
    assert first["present"]["ratio"] == [2.0]
    np.testing.assert_allclose(
        first["rnn_kernel"]["value"], slices[3].networks["rnn"][2].kernel.ravel(), rtol=1e-3
    )
    assert len(second["rnn_kernel"]["value"]) == 9
    assert second["present"] == {"ratio": [0.5], "m": [pytest.approx(0.0, abs=1e-6)]}
    assert len(second["landau"]["m"]) == 2 * explore.POINTS
