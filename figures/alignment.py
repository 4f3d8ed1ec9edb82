"""alignment: how well its best neuron says a feature, against how well the model does; a dot a feature, by tier.

A row a regime, the primary one first, a panel a hidden layer, at one LayerNorm eps. Functional alignment is the R^2 of
the best affine read-out of the feature from one neuron at ``post``. Hollow are features whose alignment rotations of
the hidden basis also give: it does not exceed the 99th percentile of the feature's own null. The corner says how many
features a model has in neurons and hidden, on average. Features in two heaps would be two groups, in one band one.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import ink, tier_colour
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.shown import regimes_with_tiers
from toymodels.metrics.recovery import RECOVERED
from toymodels.metrics.tiers import ALIGNED, ALIGNED_PERCENTILE
from toymodels.sweeps.results.arms import conditions
from toymodels.sweeps.results.reading import Run

R2, BEST, PERCENTILE, TIER = "r2", "best_neuron_r2_post", "best_neuron_r2_post_percentile", "tier"
TIERS = ("lost", "hidden", "neuron")
"""The tiers as they are drawn, the fewest features on top."""
MOST_REGIMES, MOST_POINTS = 6, 1000
LOWEST = -0.1
TITLE_WIDTH, REGIME_WIDTH = 120, 26


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` if nothing was trained, or no target is of features."""
    regimes, _, said = regimes_with_tiers(run)
    if len(regimes) > MOST_REGIMES:
        said.insert(0, f"{len(regimes) - MOST_REGIMES} other regimes are not shown")
    names = conditions([regime.settings for regime in regimes])[:MOST_REGIMES]
    arms = list(dict.fromkeys(arm for regime in regimes[:MOST_REGIMES] for arm in regime.models["arm"]))
    figure = Figure(figsize=(min(WIDTH, max(COLUMN, 0.7 + 0.85 * len(arms))), 1.1 + 1.05 * len(names)))
    panels = figure.subplots(len(names), len(arms), sharex=True, sharey=True, squeeze=False)
    sampled = False
    for name, regime, line in zip(names, regimes, panels, strict=False):
        for arm, axis in zip(arms, line, strict=True):
            models = regime.models[regime.models["arm"] == arm]
            dots = run.features[run.features["model"].isin(models["model"])].dropna(subset=[R2, BEST])
            sampled |= len(dots) > MOST_POINTS
            _dots(axis, dots if len(dots) <= MOST_POINTS else dots.sample(MOST_POINTS, random_state=0))
            _corner(axis, models)
        line[0].set_ylabel(
            textwrap.fill(textwrap.shorten(name, 4 * REGIME_WIDTH, placeholder=" ..."), REGIME_WIDTH), fontsize=6
        )
    for arm, axis in zip(arms, panels[0], strict=True):
        axis.set_title(arm)
    ticks = {"xticks": [0, 0.5, 1], "yticks": [0, 0.5, 1]}
    panels[0][0].set(xlim=(LOWEST - 0.03, 1.03), ylim=(-0.03, 1.03), **ticks)
    for axis in panels.flat:
        axis.set_xticklabels(["0", ".5", "1"])
        axis.set_yticklabels(["0", ".5", "1"])
    panels[-1][len(arms) // 2].set_xlabel("R² of the model", fontsize=8)
    figure.supylabel("R² of the best neuron at post", fontsize=8)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4, handletextpad=0.1)
    said += [f"{MOST_POINTS:,} features a panel at most"] * sampled
    figure.suptitle(textwrap.fill("; ".join(said), TITLE_WIDTH), fontsize=7)
    return figure


def beyond_null(features: pd.DataFrame) -> pd.Series:
    """Whether the alignment of a feature exceeds what rotations of the hidden basis give it."""
    return features[PERCENTILE] > ALIGNED_PERCENTILE


def _dots(axis: Axes, features: pd.DataFrame) -> None:
    for line, at in ((axis.axvline, RECOVERED), (axis.axhline, ALIGNED)):
        line(at, color=ink(0.8), linewidth=0.6, linestyle="--", alpha=0.6, zorder=0)
    # One collection, the fewest features on top; a panel that scaled itself to each would take seconds.
    axis.autoscale(enable=False)
    shown = features[features[TIER].isin(TIERS)].sort_values(TIER, key=lambda of: of.map(TIERS.index), kind="stable")
    edges: Any = to_rgba_array([tier_colour(tier) for tier in shown[TIER]], alpha=0.6)
    faces: Any = edges * beyond_null(shown).to_numpy()[:, None]
    look = {"s": 5, "linewidths": 0.4, "rasterized": True}
    axis.scatter(shown[R2].clip(lower=LOWEST), shown[BEST], facecolors=faces, edgecolors=edges, **look)


def _corner(axis: Axes, models: pd.DataFrame) -> None:
    for tier, y in (("neuron", 0.97), ("hidden", 0.83)):
        if len(models):
            count = f"{models[f'features_{tier}'].mean():.1f}"
            place = {"transform": axis.transAxes, "va": "top", "fontsize": 6.5}
            axis.text(0.04, y, count, color=tier_colour(tier), **place)


def _legend() -> list[Line2D]:
    look = {"marker": "o", "linestyle": "", "markersize": 4}
    tiers = [Line2D([], [], color=tier_colour(tier), label=tier, **look) for tier in reversed(TIERS)]
    return [*tiers, Line2D([], [], color=ink(1), markerfacecolor="none", label="not beyond its rotations", **look)]
