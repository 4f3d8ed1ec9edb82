"""solu_neurons: features in single neurons, and recovered ones that sit in none, against loss; a colour an arm.

Two panels a regime. On the left, of how many features a single neuron at ``post`` says more than half the variance; on
the right, how many features the model recovers of which no neuron does. A tier does not depend on where a continuum is
cut, so the right one has two cuts: hollow, the best neuron's R^2 is below .5; full, it is below .3. Small marks are
models, large ones the means of arms; dark ones with a triangle have a LayerNorm.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from toymodels.figures.colours import Colour, ink, layer_colours, page
from toymodels.figures.drawing import WIDTH
from toymodels.metrics.recovery import RECOVERED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, hidden_layer, label
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.results.summary import notes, summarise

CUTS = (0.5, 0.3)
COUNTED = ("in a neuron", *(f"below {cut}" for cut in CUTS))
REGIMES_A_ROW = 2
MOST_REGIMES = 40
TITLE_WIDTH = 58


def draw(run: Run) -> Figure:
    """Columns are the two counts, of one regime or two beside each other; raises `FolderError` where nothing was
    trained, where targets are not features, and for too many regimes."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss_fraction"].notna()]
    others = int(models["features_recovered"].isna().sum())
    models = models[models["features_recovered"].notna()]
    if models.empty:
        raise FolderError(f"{run.path}: this figure needs trained models that say what each feature is")
    models = models.join(_counts(run), on="model")
    regimes = run.arms(models, over=(*SEED_ALONE, *HIDDEN_LAYER, *run.tuned))
    if len(regimes) > MOST_REGIMES:
        raise FolderError(
            f"{run.path}: this figure has two panels for each of {len(regimes)} combinations of "
            f"{', '.join(regimes[0].settings)}, more than {MOST_REGIMES}: run a part of the sweep, with --set or --grid"
        )
    side_by_side = min(REGIMES_A_ROW, len(regimes)) if len(regimes) > 2 else 1
    rows = -(-len(regimes) // side_by_side)
    figure = Figure(figsize=(WIDTH if side_by_side > 1 else 6.2, (2.5 if side_by_side == 1 else 2.1) * rows + 1.0))
    grid = figure.subplots(rows, 2 * side_by_side, squeeze=False, sharex=False).reshape(rows * side_by_side, 2)
    colours = layer_colours(models)
    for (left, right), regime in zip(grid, regimes, strict=False):
        for (activation, layer_norm), arm in regime.models.groupby(list(HIDDEN_LAYER), sort=False):
            _marks(left, right, arm, colours[str(activation), bool(layer_norm)], "^" if layer_norm else "o")
        left.set(ylabel="features in a neuron")
        right.set(ylabel="recovered, in none")
        left.set_title(textwrap.fill(label(regime.settings), TITLE_WIDTH), fontsize=7, loc="left")
        for axis in (left, right):
            axis.set(xlabel="loss fraction", ylim=(-0.04 * _most(models), 1.04 * _most(models)))
    for axis in grid[len(regimes) :].flat:
        axis.set_visible(False)
    figure.legend(handles=_legend(colours), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(textwrap.fill(_said(run, models, others), 105), fontsize=7, color=ink(0.6))
    return figure


def _counts(run: Run) -> pd.DataFrame:
    """How many features sit in a neuron, and how many recovered ones in none at each of `CUTS`: a row a model."""
    features = run.features
    best, recovered = features["best_neuron_r2_post"], features["r2"] > RECOVERED
    said = {COUNTED[0]: best > RECOVERED}
    said |= {name: recovered & (best < cut) for name, cut in zip(COUNTED[1:], CUTS, strict=True)}
    return pd.DataFrame(said).groupby(features["model"]).sum()


def _marks(left: Axes, right: Axes, arm: pd.DataFrame, colour: Colour, marker: str) -> None:
    loss, (neurons, half, third) = arm["loss_fraction"], (arm[name] for name in COUNTED)
    for axis, count in ((left, neurons), (right, half)):
        axis.scatter(loss, count, s=7, color=[colour], marker=marker, alpha=0.45, linewidths=0)
    mean, large = loss.mean(), {"marker": marker, "s": 46, "linewidths": 1.2, "zorder": 3}
    left.scatter(mean, neurons.mean(), color=[colour], edgecolors=page(), **large)
    right.plot([mean, mean], [half.mean(), third.mean()], color=colour, linewidth=1)
    right.scatter(mean, half.mean(), facecolors=page(), edgecolors=[colour], **large)
    right.scatter(mean, third.mean(), color=[colour], edgecolors=page(), **large)


def _legend(colours: dict[tuple[str, bool], Colour]) -> list[Line2D]:
    arms = [
        Line2D([], [], linestyle="", marker="^" if norm else "o", color=colour, label=hidden_layer(activation, norm))
        for (activation, norm), colour in colours.items()
    ]
    faces = {"in a neuron: R² > .5 at post": ink(0.7), "none above .3": ink(0.7), "none above .5": page()}
    marks = [
        Line2D([], [], linestyle="", marker="s", color=ink(0.7), markerfacecolor=face, label=said)
        for said, face in faces.items()
    ]
    return [*arms, *marks]


def _most(models: pd.DataFrame) -> int:
    """The largest count in any panel, for an axis that all of them share."""
    return max(1, int(models[list(COUNTED)].to_numpy().max()))


def _said(run: Run, models: pd.DataFrame, others: int) -> str:
    """What stands above: what is tuned, what is pooled, how many ``others`` are left out as their targets are not
    features, and where the activation does nothing."""
    said = []
    if run.tuned:
        said.append(f"each hidden layer at its best {' and '.join(name.rpartition('.')[2] for name in run.tuned)}")
    if models["seed"].nunique() > 1:
        said.append(f"a small mark a model, {models['seed'].nunique()} seeds")
    if others:
        said.append(f"{others} models whose targets are not features are left out")
    return "; ".join([*said, *notes(summarise(run))])
