"""layer_norm: how much of either tier is left where LayerNorm is frozen, and where it is removed.

Of the first regime, the primary one before others; a panel a hidden layer with LayerNorm, whose models are run anew
with LayerNorm live, with its scale held at one constant, and without it. A line a model and tier: the mean over the
tier's features of R^2, after the best rescaling of each output; thick is the mean over models. A tier that needs
LayerNorm falls more than the other one. Tiers are each model's own, as in its tables.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import OF_TIERS, tier_colour
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.shown import NORM, regime_title, regimes_with_tiers
from toymodels.hosts import Models
from toymodels.hypotheses.norm_states import FROZEN, LIVE, REMOVED, r2_by_norm
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

MODELS, SAMPLES = 4, 16384
"""How many models a layer are run anew, and on how many samples each, so that the figure takes seconds."""
STATES = (LIVE, FROZEN, REMOVED)
MARKERS = {"neuron": "o", "hidden": "^"}
TITLE_WIDTH = 110


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` if no trained model has a LayerNorm, or no target is of features."""
    regimes, primary, said = regimes_with_tiers(run)
    normed = [k for k, regime in enumerate(regimes) if regime.models[NORM].any()]
    if not normed:
        raise FolderError(f"{run.path}: this figure is about LayerNorm, and no trained model has one")
    place = normed[0]
    models = regimes[place].models
    models = models[models[NORM]]
    arms = list(dict.fromkeys(models["arm"]))
    figure = Figure(figsize=(min(WIDTH, max(COLUMN, 0.8 + 1.6 * len(arms))), 3.0))
    panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
    for arm, axis in zip(arms, panels, strict=True):
        numbers = models.loc[models["arm"] == arm, "model"].tolist()
        _panel(axis, by_tier(run, numbers[:MODELS]))
        axis.set_title(f"{arm} ({min(MODELS, len(numbers))} of {len(numbers)} models)", fontsize=7.5)
    panels[0].set(ylabel="R², mean over a tier", ylim=(-0.02, 1.02))
    figure.supxlabel("LayerNorm", fontsize=8)
    keys = [Line2D([], [], color=tier_colour(tier), marker=MARKERS[tier], label=tier) for tier in OF_TIERS]
    figure.legend(handles=keys, loc="outside lower right", ncols=2)
    figure.suptitle(textwrap.fill("; ".join([regime_title(regimes, primary, place), *said]), TITLE_WIDTH), fontsize=7)
    return figure


def by_tier(run: Run, models: list[int]) -> pd.DataFrame:
    """The mean R^2 over the features of each tier: a row a model and tier, a column a state of LayerNorm."""
    samples = min(SAMPLES, *(int(n) for n in run.models.loc[run.models["model"].isin(models), "eval.samples"]))
    tiers = run.features.set_index(["model", "feature"])["tier"].loc[models]
    found = r2_by_norm(Models(*run.batch(models)), samples)
    rows = pd.DataFrame({name: of.flatten().numpy() for name, of in found.items()}, index=tiers.index)
    return rows.groupby([tiers.index.get_level_values("model"), tiers]).mean()


def _panel(axis: Axes, rows: pd.DataFrame) -> None:
    places = range(len(STATES))
    for tier, marker in MARKERS.items():
        of_tier = rows[rows.index.get_level_values("tier") == tier][list(STATES)]
        for line in of_tier.to_numpy():
            axis.plot(places, line, color=tier_colour(tier), linewidth=0.6, alpha=0.6)
        if len(of_tier):
            axis.plot(places, of_tier.mean(), color=tier_colour(tier), marker=marker, linewidth=2, markersize=5)
    if rows.index.get_level_values("tier").isin(list(MARKERS)).sum() == 0:
        axis.text(0.5, 0.5, "no feature is in a tier", transform=axis.transAxes, ha="center", fontsize=7)
    axis.set_xticks(places, STATES)
    axis.set_xlim(-0.25, len(STATES) - 0.75)
