"""Notebook: a figure of a run that a notebook shows as the last thing of a cell, and that ``savefig`` writes.

IPython knows how to show matplotlib's figures once pyplot was imported, which takes over how they are drawn. Ours say
it themselves, in our style, so that one line shows a picture wherever it is run.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toymodels.figures import figure_of
from toymodels.figures.drawing import in_our_style
from toymodels.sweeps.results.reading import Run, load

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_A_POINT = 2
"""of a picture in a notebook: as many as a fine screen has"""


def for_notebook(run: Run | str | Path, name: str, *, dark: bool = False) -> Figure:
    """Figure ``name`` of a run or of the run in a folder; raises `SweepError` where that cannot be drawn."""
    figure = figure_of(name, run if isinstance(run, Run) else load(run), dark=dark)
    # Of this figure alone: a class of figures of our own would have to be named by every file that makes one.
    setattr(figure, "_repr_png_", partial(as_png, figure))  # noqa: B010 - which matplotlib does not declare
    return figure


def as_png(figure: Figure) -> tuple[bytes, dict[str, Any]]:
    """The figure as IPython shows it: a PNG, and how large to show it."""
    buffer = io.BytesIO()
    with in_our_style():
        figure.savefig(buffer, format="png", dpi=DOTS_A_POINT * figure.dpi)
    width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
    return buffer.getvalue(), {"width": width, "height": height}
