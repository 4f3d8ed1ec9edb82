"""P9: how well hidden features (tier two) are found in SoLU + LN against GeLU, the same features and seeds.

A panel a way of finding them: the best single neuron and, where dictionaries were trained, the matched latent of each
kind. Below the dashed line they are harder to find in SoLU + LN.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import diagonal, legend_of_tiers, scatter, shown
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

WAYS = {
    "best_neuron_r2": "best neuron at post, R²",
    "f1_top_k": "TopK dictionary of post, F1",
    "f1_l1": "L1 dictionary of post, F1",
}


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet, or no GeLU beside."""
    what = shown(run, __name__)
    if PLAIN not in what.arms:
        raise FolderError(f"{run.path}: this figure needs models of {PLAIN} without LayerNorm")
    both = what.of(MAIN).merge(what.of(PLAIN), on=["seed", "feature"], suffixes=("", "_plain"))
    ways = [way for way in WAYS if both[way].notna().any() and both[f"{way}_plain"].notna().any()]
    figure = Figure(figsize=(WIDTH, 3.2))
    axes = figure.subplots(1, len(ways), squeeze=False)
    figure.suptitle(what.title, fontsize=8)
    for way, axis in zip(ways, axes[0], strict=True):
        scatter(axis, both, f"{way}_plain", way)
        diagonal(axis, 0, 1)
        axis.set(title=WAYS[way], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.supxlabel("in GeLU", fontsize=9)
    figure.supylabel("in SoLU + LN", fontsize=9)
    legend_of_tiers(axes[0, 0])
    return figure
