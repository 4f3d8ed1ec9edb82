"""The regime that a figure of a prediction shows: of those in the verdict mostly the first, at its default eps.

Arms and tiers have one colour and one order in all figures. What a panel pools, the seeds of its arm, the title says.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import OF_TIERS, colour_of, ink, tier_colour
from toymodels.figures.drawing import WIDTH
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

ARMS = (MAIN, *LN_ONLY, PLAIN)
TIER_SIZES = {"neuron": 12, "hidden": 6}
TIER_LABELS = {"neuron": "neuron (tier one)", "hidden": "hidden (tier two)"}
MOST_POINTS = 3000
TITLE_WIDTH = 110


@dataclass(frozen=True)
class Shown:
    """A table of evidence of one regime at one eps, and what to write above it."""

    rows: pd.DataFrame
    title: str

    @property
    def arms(self) -> list[str]:
        """The names of the arms that the table has, SoLU + LN first."""
        there = set(self.rows["arm"].unique())
        return [name for name in ARMS if name in there]

    def of(self, arm: str) -> pd.DataFrame:
        """The rows of the arm of this name."""
        return self.rows[self.rows["arm"] == arm]


def shown(run: Run, figure: str, table: str = "evidence", *, varying: Sequence[str] = ()) -> Shown:
    """The rows to draw in ``figure``, the name of its module, with the status of the prediction that it is of.

    Of the first regime in which a column of ``varying`` does vary, where there is one, else of the first. Raises
    `FolderError` before ``toymodels verdict`` ran, and where an older version ran it.
    """
    (prediction,) = [each for each in PREDICTIONS if each.figure == figure.rpartition(".")[2]]
    evidence, regimes = run.evidence(table), run.verdicts["regimes"]
    of_regimes = [_of(evidence, regime) for regime in regimes]
    varied = [k for k, rows in enumerate(of_regimes) if any(rows[name].nunique() > 1 for name in varying)]
    place = varied[0] if varied else 0
    first, rows = regimes[place], of_regimes[place]
    if rows.empty:
        raise FolderError(f"{run.path}/{table}.parquet: not of this verdict: run 'toymodels verdict {run.path}' again")
    eps, said = _default(first)["eps"], first["predictions"][prediction.key]
    status = said["status"] if prediction.decisive else "described"
    kind = "primary" if first["primary"] else "exploratory"
    seeds = len(first["seeds"])
    where = f"{kind}: {first['name']}; eps {eps}; pooled over {seeds} seed{'s' if seeds > 1 else ''}"
    title = f"{prediction.key}  {said['claim']}: {status}\n{where}"
    return Shown(rows, "\n".join(textwrap.fill(line, TITLE_WIDTH) for line in title.splitlines()))


def _of(evidence: pd.DataFrame, regime: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a regime of the verdict at its default eps."""
    return evidence[(evidence["regime"] == regime["name"]) & (evidence["eps"] == _default(regime)["eps"])]


def _default(regime: Mapping[str, Any]) -> Mapping[str, Any]:
    (at,) = [at for at in regime["settings_of_analysis"] if at["default"]]
    return at


def panels(arms: list[str], title: str, height: float = 2.6) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel an arm, whose axes are shared; returns it and the panels by arm."""
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.subplots(1, len(arms), sharex=True, sharey=True, squeeze=False)
    figure.suptitle(title, fontsize=8)
    for arm, axis in zip(arms, axes[0], strict=True):
        axis.set_title(arm, color=colour_of(arm))
    return figure, dict(zip(arms, axes[0], strict=True))


def scatter(axis: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """A dot a feature, coloured by tier; where there are very many a sample of them, and the panel says of how many."""
    sampled = []
    for tier in reversed(OF_TIERS):  # the neuron tier, of few, on top
        of_tier = rows[rows["tier"] == tier].dropna(subset=[x, y])
        if len(of_tier) > MOST_POINTS:
            sampled.append(f"{MOST_POINTS:,} of {len(of_tier):,} in tier {tier}")
            of_tier = of_tier.sample(MOST_POINTS, random_state=0)
        axis.scatter(
            of_tier[x],
            of_tier[y],
            color=tier_colour(tier),
            s=TIER_SIZES[tier],
            alpha=0.6,
            linewidths=0,
            rasterized=True,
        )
    axis.text(0.98, 0.02, "\n".join(sampled), transform=axis.transAxes, ha="right", va="bottom", fontsize=6)


def legend_of_tiers(axis: Axes) -> None:
    """Add a legend that says which colour is which tier."""
    handles = [
        Line2D([], [], marker="o", linestyle="", color=tier_colour(tier), label=TIER_LABELS[tier]) for tier in OF_TIERS
    ]
    axis.legend(handles=handles, loc="best", fontsize=6.5, markerscale=0.6, handletextpad=0.1)


def diagonal(axis: Axes, low: float, high: float) -> None:
    """Draw the line on which both axes are the same, from ``low`` to ``high``."""
    ends = np.array([low, high])
    axis.plot(ends, ends, color=ink(0.5), linewidth=0.8, linestyle="--", zorder=0)
