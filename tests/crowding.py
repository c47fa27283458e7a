"""Text that a reader could not read: on other text, cut, or too close to the edge of the page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text
from matplotlib.transforms import Bbox

# Least distance of text from the edges of the page, and what may overlap, in points: boxes of text are
# larger than their ink.
MARGIN = 3.0
SLACK = 0.7


def crowded(figure: Figure) -> list[str]:
    """A sentence for each pair of texts that overlap, and for each text that the page's edge cuts.

    figure: with its final layout, as ``style.settled`` makes it.
    """
    points = figure.dpi / 72.0
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    page = Bbox.from_extents(0.0, 0.0, *figure.bbox.size).padded(-MARGIN * points)
    faults = [
        f"{name!r} is less than {MARGIN:g} points from the edge of the page"
        for name, box in boxes
        if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1)
    ]
    for (first, one), (second, other) in combinations(boxes, 2):
        shared = Bbox.intersection(one.padded(-SLACK * points), other.padded(-SLACK * points))
        if shared is not None and shared.width > 0 and shared.height > 0:
            faults.append(f"{first!r} and {second!r} overlap")
    return faults


def texts(figure: Figure) -> Iterator[Text]:
    """All texts of a figure that are drawn."""
    for text in _every(figure):
        if text.get_visible() and text.get_text().strip():
            yield text


def _every(figure: Figure) -> Iterator[Text]:
    for part in figure.findobj(FigureBase):
        assert isinstance(part, FigureBase)
        yield from part.texts
        for legend in part.legends:
            yield from legend.get_texts()
    for axes in figure.findobj(Axes):
        assert isinstance(axes, Axes)
        yield from (axes.title, *axes.texts)
        key = axes.get_legend()
        if key is not None:
            yield from key.get_texts()
        if not axes.axison:
            continue
        for axis in (axes.xaxis, axes.yaxis):
            yield from (axis.label, axis.offsetText)
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)
