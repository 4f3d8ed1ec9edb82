"""Legible: what holds of every figure, on a light page and on a dark one, asked of its artists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from toymodels.figures.drawing import WIDTH

SMALLEST = 6
"""points"""


def assert_legible(figure: Figure) -> None:
    """It fits a page, nothing is written too small, and everything is told from what is behind it."""
    assert figure.get_figwidth() <= WIDTH + 1e-9
    page = to_rgb(figure.get_facecolor())
    for text in texts(figure):
        assert float(text.get_fontsize()) >= SMALLEST, text.get_text()
        behind = background(text, figure)
        assert behind is None or contrast(to_rgb(text.get_color()), behind) > 1.9, text.get_text()
    for line in figure.findobj(Line2D):
        assert isinstance(line, Line2D)
        if line.get_linestyle() != "None" and line.get_linewidth() and len(np.atleast_1d(line.get_xdata())) > 1:
            assert contrast(to_rgb(line.get_color()), page) > 1.1, line


def texts(figure: Figure) -> Iterator[Text]:
    """What is written in a figure and seen."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_text().strip() and text.get_visible():
            yield text


def background(text: Text, figure: Figure) -> tuple[float, float, float] | None:
    """The colour that a text stands on; None where it is drawn on an image, with an outline."""
    box = text.get_bbox_patch()
    if box is not None:
        return to_rgb(box.get_facecolor())
    extent = text.get_window_extent()
    middle = ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
    for axis in figure.axes:
        if text in axis.texts:
            if axis.images:
                return None
            for patch in reversed(axis.patches):
                if patch.contains_point(middle):
                    *colour, alpha = to_rgba(patch.get_facecolor())
                    page = to_rgb(figure.get_facecolor())
                    red, green, blue = (alpha * c + (1 - alpha) * p for c, p in zip(colour, page, strict=True))
                    return red, green, blue
    return to_rgb(figure.get_facecolor())


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """The contrast ratio of the Web Content Accessibility Guidelines 2: from 1, none, to 21, black on white."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: tuple[float, float, float]) -> float:
    parts = np.asarray(colour)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
