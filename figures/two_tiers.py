"""two_tiers: how many features each hidden layer puts in a neuron, hides or loses, and whether these are two groups.

Of one regime: the primary one, or the first of a run that has none. Above on the left features by tier, the mean over
seeds. On the right the best neuron's R^2 of a model's features in falling order, the mean over seeds at each rank: two
groups are a step, one group is a slope. Below a panel a hidden layer, a dot a feature: how well its best neuron says
it, against how well the model does. A line goes from a hidden feature up to its R^2 where no feature of tier neuron is
active, which decides its tier. Dashed is the threshold of "recovered".
"""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from toymodels.figures.colours import ink, layer_colours, on, page, tier_colour
from toymodels.figures.drawing import WIDTH
from toymodels.figures.shown import regimes_with_tiers
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.results.arms import condition, hidden_layer
from toymodels.sweeps.results.reading import Run

BEST, WHOLE, UNGATED = "best_neuron_r2_post", "r2", "r2_ungated"
HATCHES = {"neuron": "", "hidden": "////", "lost": ""}
MOST_POINTS = 2000
LOWEST = -0.25
COLUMNS = 4
TITLE_WIDTH = 105


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` if nothing was trained, or no target is of features."""
    arms, said = regime(run)
    features = run.features[run.features["model"].isin(arms["model"])]
    names = list(dict.fromkeys(arms["arm"]))
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(WIDTH, 2.9 + 1.75 * rows))
    halves = figure.add_gridspec(2, 1, height_ratios=[2.6, 1.75 * rows + 0.25])
    above, below = (figure.add_subfigure(half) for half in (halves[0], halves[1]))
    stacked, sorted_ = above.subplots(1, 2, width_ratios=[1, 1.25])
    _stack(stacked, counts(arms))
    colours = layer_colours(arms)
    for (activation, norm), colour in colours.items():
        name = hidden_layer(activation, norm)
        line = profile(features[features["model"].isin(arms.loc[arms["arm"] == name, "model"])])
        sorted_.plot(line.index + 1, line, color=colour, linestyle="-" if norm else "--", label=name)
    sorted_.axhline(RECOVERED, color=ink(0.5), linewidth=0.8, linestyle=":")
    sorted_.set(xlabel="features of a model, best first", ylabel="best neuron's R² at post", ylim=(0, 1.02))
    sorted_.legend(fontsize=6.5, ncols=2)
    sampled = _panels(below, names, arms, features)
    said += [f"{MOST_POINTS:,} features a panel at most"] * sampled
    figure.suptitle(textwrap.fill("; ".join(said), TITLE_WIDTH), fontsize=8, color=ink(0.7))
    return figure


def regime(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """The models of the regime that is shown, ``arm`` what their hidden layer is called, and what to say of them."""
    regimes, primary, about = regimes_with_tiers(run)
    kind, chosen = "primary" if primary else "exploratory", regimes[0]
    said = [f"{kind}: {condition(chosen.settings) or 'the only regime'}"]
    if len(regimes) > 1:
        said.append(f"{len(regimes) - 1} other regimes are not shown")
    seeds = chosen.models["seed"].nunique()
    return chosen.models, [*said, *[f"{seeds} seeds"] * (seeds > 1), *about]


def counts(arms: pd.DataFrame) -> pd.DataFrame:
    """Mean number of features of each tier over the models of an arm: a row an arm, a column a tier."""
    columns = {f"features_{tier}": tier for tier in HATCHES}
    return arms.groupby("arm", sort=False)[list(columns)].mean().rename(columns=columns)


def profile(features: pd.DataFrame) -> pd.Series:
    """The best neuron's R^2 at ``post`` in falling order within each model, and its mean over models at each rank; a
    feature of which it is not defined is left out."""
    there = features.dropna(subset=[BEST]).sort_values(BEST, ascending=False, kind="stable")
    rank = there.groupby("model").cumcount()
    return there[BEST].groupby(rank.to_numpy()).mean()


def _stack(axis: Axes, of_tiers: pd.DataFrame) -> None:
    """Bars of arms, tier neuron leftmost; a tier's mean stands in it where there is room."""
    places, start = np.arange(len(of_tiers))[::-1], np.zeros(len(of_tiers))
    room = 0.06 * of_tiers.sum(axis=1).max()
    for tier, hatch in HATCHES.items():
        width, colour = of_tiers[tier].to_numpy(), tier_colour(tier)
        axis.barh(places, width, 0.75, left=start, color=colour, hatch=hatch, edgecolor=page(), linewidth=0)
        for place, left, wide in zip(places, start, width, strict=True):
            if wide > room:
                box = {"facecolor": colour, "edgecolor": "none", "pad": 0.6}
                style = {"ha": "center", "va": "center", "fontsize": 6.5, "color": on(colour), "bbox": box}
                axis.text(left + wide / 2, place, f"{wide:.3g}", **style)
        start = start + width
    axis.set_yticks(places, of_tiers.index)
    axis.set(xlabel="features, mean over seeds", xlim=(0, max(1.0, start.max())))
    axis.grid(visible=False, axis="y")
    keys = [
        Patch(facecolor=tier_colour(tier), hatch=hatch, edgecolor=page(), label=tier) for tier, hatch in HATCHES.items()
    ]
    axis.legend(handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7, borderaxespad=0.1)


def _panels(figure: SubFigure, names: list[str], arms: pd.DataFrame, features: pd.DataFrame) -> bool:
    """A panel an arm, a dot a feature; returns whether any shows a sample of its features."""
    rows = -(-len(names) // COLUMNS)
    axes = figure.subplots(rows, min(COLUMNS, len(names)), sharex=True, sharey=True, squeeze=False)
    sampled = False
    for name, axis in zip(names, axes.flat, strict=False):
        dots = features[features["model"].isin(arms.loc[arms["arm"] == name, "model"])].dropna(subset=[BEST, WHOLE])
        if len(dots) > MOST_POINTS:
            dots, sampled = dots.sample(MOST_POINTS, random_state=0), True
        hidden = dots[dots["tier"] == "hidden"]
        if UNGATED in hidden:
            axis.vlines(
                hidden[BEST], hidden[WHOLE], hidden[UNGATED], color=tier_colour("hidden"), linewidth=0.4, alpha=0.5
            )
        colour = dots["tier"].fillna("lost").map(tier_colour)
        place = (dots[BEST], dots[WHOLE].clip(lower=LOWEST))
        axis.scatter(*place, c=colour, s=5, alpha=0.6, linewidths=0, rasterized=True)
        for line in (axis.axhline, axis.axvline):
            line(RECOVERED, color=ink(0.5), linewidth=0.7, linestyle="--", zorder=0)
        axis.set_title(f"{name} ({dots['model'].nunique()} models)", fontsize=8)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    axes[0, 0].set(xlim=(0, 1.02), ylim=(LOWEST - 0.05, 1.05))
    figure.supxlabel("best neuron's R² at post", fontsize=8)
    figure.supylabel("the model's R²", fontsize=8)
    keys = [
        Line2D([], [], marker="o", linestyle="", markersize=3, color=tier_colour(tier), label=tier) for tier in HATCHES
    ]
    axes[0, 0].legend(handles=keys, loc="lower right", fontsize=6, handletextpad=0.1, borderaxespad=0.1)
    return sampled
