"""tiers: which features are in neurons, hidden or lost, by how common and how important they are.

Of the first regime, the primary one before others, in which features differ in either. A panel a hidden layer; columns
and rows are quintiles of frequency and importance over all features of all seeds, the common to the right, the
important on top. In each cell stand the shares of its features in tier neuron, hidden and lost, from below. What grows
from left to right goes by frequency, what grows upwards by importance.
"""

from __future__ import annotations

import textwrap
from itertools import zip_longest
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from toymodels.figures.colours import page, tier_colour
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.shown import regime_title, regimes_with_tiers
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

WAYS = {"density": "P(feature active)", "importance": "importance"}
"""The columns by which features are laid out, and what they are called."""
HATCHES = {"neuron": "", "hidden": "/////", "lost": ""}
CLASSES, COLUMNS = 5, 4
TITLE_WIDTH = 110


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` if nothing was trained, no target is of features, or all features are
    alike."""
    regimes, primary, said = regimes_with_tiers(run)
    of_regimes = [run.features.merge(each.models[["model", "arm"]], on="model") for each in regimes]
    place = next((k for k, features in enumerate(of_regimes) if vary(features)), None)
    if place is None:
        raise FolderError(f"{run.path}: this figure needs features that differ in frequency or importance")
    regime, features = regimes[place], of_regimes[place].dropna(subset=["tier"])
    arms = list(dict.fromkeys(regime.models["arm"]))
    rows, across = -(-len(arms) // COLUMNS), min(COLUMNS, len(arms))
    at = {way: edges(features[way]) for way in WAYS}
    figure = Figure(figsize=(min(WIDTH, max(COLUMN, 0.8 + 1.6 * across)), 1.0 + 1.6 * rows))
    panels = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    for arm, axis in zip(arms, panels.flat, strict=False):
        _cells(axis, shares(features[features["arm"] == arm], at))
        axis.set_title(arm)
    first = panels[0][0]
    for set_ticks, way in ((first.set_xticks, "density"), (first.set_yticks, "importance")):
        set_ticks(range(len(at[way])), [f"{value:.2g}" for value in at[way]], fontsize=6.5)
    first.set(xlim=(0, len(at["density"]) - 1), ylim=(0, len(at["importance"]) - 1))
    for axis, below in zip_longest(panels.flat, panels.flat[across:]):
        axis.tick_params(labelsize=6.5)
        axis.tick_params(axis="x", rotation=45, labelbottom=below is None or not below.patches)
        axis.set_visible(bool(axis.patches))
    figure.supxlabel(WAYS["density"], fontsize=8)
    figure.supylabel(WAYS["importance"], fontsize=8)
    keys = [Patch(facecolor=tier_colour(tier), hatch=HATCHES[tier], edgecolor=page(), label=tier) for tier in HATCHES]
    figure.legend(handles=keys, loc="outside right upper")
    seeds = regime.models["seed"].nunique()
    said = [regime_title(regimes, primary, place), f"pooled over {seeds} seeds", *said]
    figure.suptitle(textwrap.fill("; ".join(said), TITLE_WIDTH), fontsize=7)
    return figure


def vary(features: pd.DataFrame) -> bool:
    """Whether features differ in how common or how important they are."""
    return any(features[way].nunique() > 1 for way in WAYS)


def edges(values: pd.Series) -> np.ndarray:
    """The edges of classes of equal count; where there are few values, of a class each, which begins at it."""
    different = np.unique(values)
    if len(different) <= CLASSES:
        return np.append(different, different[-1])
    return np.unique(np.quantile(values, np.linspace(0, 1, CLASSES + 1)))


def classes(values: pd.Series, at: np.ndarray) -> np.ndarray:
    """The class of every value among classes with these edges, from 0; the largest value is in the last."""
    return np.clip(np.searchsorted(at, values, "right") - 1, 0, len(at) - 2)


def shares(features: pd.DataFrame, at: dict[str, np.ndarray]) -> pd.DataFrame:
    """The share of the features in each tier, a column a tier, by class of frequency and of importance: a row a cell
    that has any."""
    cells = [classes(features[way], at[way]) for way in WAYS]
    counted = pd.crosstab(cells, features["tier"]).reindex(columns=list(HATCHES), fill_value=0)
    return counted.div(counted.sum(axis=1), axis=0)


def _cells(axis: Axes, of_cells: pd.DataFrame) -> None:
    for cell, row in of_cells.to_dict("index").items():
        x, y = cast("tuple[int, int]", cell)
        foot = y + 0.06
        for tier, hatch in HATCHES.items():
            high = 0.88 * row[tier]
            look = {
                "facecolor": tier_colour(tier),
                "hatch": hatch,
                "edgecolor": page(),
                "linewidth": 0,
            }
            axis.add_patch(Rectangle((x + 0.06, foot), 0.88, high, **look))
            foot += high
    axis.grid(visible=False)
