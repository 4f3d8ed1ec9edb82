"""gram: W^T W of the best restart of each arm, beside the length of every feature, coloured by its superposition.

W [hidden, feature] has a feature's direction in each column. On the left of a pair are all products W_i . W_j, orange
above 0 and violet below; on the right the lengths |W_i|, of features in the order of the rows. A bar's colour is
sum_{j != i} (W_i/|W_i| . W_j)^2: at 0 the feature has a dimension of its own, at 1 it shares one (after Elhage et al.
2022, *Toy Models of Superposition*, section 2). Of a model with an embedding E, W is W_in E.
"""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from toymodels.figures.colours import along, sequence
from toymodels.figures.drawing import COLUMN, WIDTH
from toymodels.figures.restarts import best, loss_fraction
from toymodels.metrics.gauge import gauged_directions
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import label
from toymodels.sweeps.results.reading import Run

PAIRS_A_ROW = 4
MOST_ARMS, MOST_FEATURES = 24, 256
TITLE_WIDTH = 30
DENSITY = "features.density"


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has too many arms, or features, to be seen."""
    models = run.models[(run.models["status"] == "ok") & run.models["loss"].notna()]
    arms = run.arms(models)
    if not arms or len(arms) > MOST_ARMS or models["features.n"].max() > MOST_FEATURES:
        raise FolderError(
            f"{run.path}: this figure has room for {MOST_ARMS} arms of trained models and {MOST_FEATURES} features; "
            f"here are {len(arms)} arms"
        )
    columns = min(PAIRS_A_ROW, len(arms))
    rows = -(-len(arms) // columns)
    figure = Figure(figsize=(max(COLUMN, WIDTH * columns / PAIRS_A_ROW), 1.7 * rows + 0.8))
    axes = figure.subplots(rows, 2 * columns, squeeze=False, width_ratios=[1, 0.55] * columns).reshape(-1, 2)
    for (matrix, lengths), arm in zip(axes, arms, strict=False):
        chosen = best(arm.models)
        model = run.model(int(chosen["model"]))
        W = gauged_directions(model.experiment.bottleneck, model.parameters)[0]
        matrix.imshow((W.T @ W).numpy(), cmap="PuOr_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        draw_lengths(lengths, run.features[run.features["model"] == chosen["model"]])
        _bare(matrix)
        named = label({DENSITY: chosen[DENSITY]} | arm.settings)
        said = f"{textwrap.fill(named, TITLE_WIDTH)}\nloss fraction {loss_fraction(chosen)}"
        matrix.set_title(said, fontsize=6.5, loc="left")
    for axis in axes[len(arms) :].flat:
        axis.set_visible(False)
    shown = axes.ravel().tolist()
    products = ScalarMappable(Normalize(-1, 1), colormaps["PuOr_r"])
    shared = ScalarMappable(Normalize(0, 1), ListedColormap(sequence(64)))
    below = {"ax": shown, "location": "bottom", "shrink": 0.5, "pad": 0.02, "aspect": 50}
    figure.colorbar(products, label="squares: $W_i \\cdot W_j$", **below)
    figure.colorbar(shared, label="bars: superposition", extend="max", **below)
    return figure


def draw_lengths(axis: Axes, features: pd.DataFrame) -> None:
    """A bar a feature, as long as its direction, the first one uppermost, in the colour of its superposition."""
    in_order = features.sort_values("feature")
    axis.barh(in_order["feature"], in_order["norm"], 0.8, color=along(in_order["interference"].clip(0, 1)))
    axis.set(ylim=(len(in_order) - 0.5, -0.5), xlim=(0, 1.25), xticks=[0, 1])
    axis.grid(visible=False, axis="y")
    axis.set_yticks([])


def _bare(axis: Axes) -> None:
    axis.grid(visible=False)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
