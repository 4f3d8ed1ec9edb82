"""frozen_mask: how far a frozen mask carries, how many bits are in it, and how many masks the data need.

A row a regime, a line a hidden layer. On the left the share of the read-out's variance that a layer loses which is
frozen at another example, against the number of features that differ; saying the mean loses 1, the grey line. In the
middle the bits of what is frozen, given how many features are active, where they can be told; the grey line is the
active set's own entropy. On the right the share of the variance that so many affine maps keep, each example with the
best of them; a mark at the left edge is the best affine map of all. Bands are 95 % intervals over seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import colour_of, ink
from toymodels.figures.drawing import WIDTH
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import frozen_mask as study
from toymodels.sweeps.studies.document import read

AFFINE_AT = 0.7
"""where the mark of the best affine map stands, left of one map"""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer frozen_mask`` ran."""
    tables = read(run, "frozen_mask").tables
    regimes = list(dict.fromkeys(tables[study.LAYERS]["regime"]))
    figure = Figure(figsize=(WIDTH, 1.1 + 1.3 * len(regimes)))
    grid = figure.subplots(len(regimes), 3, squeeze=False, sharex="col")
    for regime, (left, middle, right) in zip(regimes, grid, strict=True):
        of = {title: table[table["regime"] == regime] for title, table in tables.items()}
        _distance(left, of[study.DISTANCE])
        _crowd(middle, of[study.CROWD])
        _maps(right, of[study.MAPS])
        left.set_title(regime, fontsize=8, loc="left")
    for axis, name in zip(
        grid[-1], ("features that differ (at least)", "features active", "affine maps, one a mask"), strict=True
    ):
        axis.set_xlabel(name)
    handles = [
        Line2D([], [], label=layer, **_style(str(layer))) for layer in dict.fromkeys(tables[study.LAYERS]["layer"])
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _distance(axis: Axes, rows: pd.DataFrame) -> None:
    rows = rows[rows["by"] == "features"]
    for layer, of in _layers(rows):
        _curve(axis, layer, of, of["distance"])
    axis.set(yscale="log", ylabel="variance lost", ylim=(0.1, 30))
    axis.axhline(1, color=ink(0.4), linewidth=0.8)


def _crowd(axis: Axes, rows: pd.DataFrame) -> None:
    for layer, of in _layers(rows[rows["measure"] == "bits"]):
        _curve(axis, layer, of, of["active"])
    most = rows[rows["measure"] == "active set"].drop_duplicates("active")
    axis.plot(most["active"], most["mean"], color=ink(0.4), linewidth=4, alpha=0.5, zorder=0)
    axis.set(ylabel="bits frozen", ylim=(-0.5, 16))


def _maps(axis: Axes, rows: pd.DataFrame) -> None:
    for layer, of in _layers(rows[rows["measure"] == "kept"]):
        _curve(axis, layer, of, of["maps"])
    for layer, of in _layers(rows[rows["measure"] == "affine"]):
        axis.plot([AFFINE_AT], of["mean"], color=colour_of(layer), marker=_marker(layer), markersize=4, linestyle="")
    axis.set_xscale("log", base=2)
    axis.set(ylabel="variance kept", ylim=(0, 1.02))
    axis.axhline(study.SHARE, color=ink(0.4), linewidth=0.8)


def _layers(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for layer, of in rows.groupby("layer", sort=False):
        yield str(layer), of


def _curve(axis: Axes, layer: str, of: pd.DataFrame, x: pd.Series) -> None:
    axis.plot(x, of["mean"], **_style(layer))
    axis.fill_between(
        x, of["low"].astype(float), of["high"].astype(float), color=colour_of(layer), alpha=0.15, linewidth=0
    )


def _style(layer: str) -> dict[str, Any]:
    style = "--" if _has_norm(layer) else "-"
    return {"color": colour_of(layer), "linestyle": style, "marker": _marker(layer), "markersize": 3, "linewidth": 1.2}


def _has_norm(layer: str) -> bool:
    return layer.endswith("+ LN")


def _marker(layer: str) -> str:
    return "^" if _has_norm(layer) else "o"
