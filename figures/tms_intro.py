"""tms_intro: the feature directions in the plane, a panel a density, of the best of its restarts.

As features get sparser, two orthogonal ones become two antipodal pairs, then a pentagon (Elhage et al. 2022, *Toy
Models of Superposition*, section 2). Colour is importance.
"""

from __future__ import annotations

from matplotlib import colormaps
from matplotlib.figure import Figure

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.reading import Run

PANELS_A_ROW = 5
REACH = 1.35


def draw(run: Run) -> Figure:
    """The figure of a run with two hidden neurons; raises `FolderError` for any other."""
    models = run.models[run.models["status"] == "ok"]
    if models.empty or set(models["model.hidden"]) != {2}:
        raise FolderError(f"{run.path}: this figure needs trained models with 2 hidden neurons")
    best = models.loc[models.groupby("features.density", sort=False)["loss"].idxmin()]
    restarts = models.groupby("features.density", sort=False).size()
    columns = min(PANELS_A_ROW, len(best))
    rows = -(-len(best) // columns)
    figure = Figure(figsize=(1.7 * columns + 0.8, 1.9 * rows + 0.2))
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shades = colormaps["viridis"]
    for axis, (_, row) in zip(axes.flat, best.iterrows(), strict=False):
        model = run.model(int(row["model"]))
        importance = model.experiment.importance()
        highest = max(importance.max(), 1e-12)
        for feature, (x, y) in enumerate(model.parameters.W_in[0].T.tolist()):
            colour = shades(0.9 * (1 - importance[feature] / highest))
            axis.plot([0, x], [0, y], color=colour)
            axis.plot(x, y, "o", color=colour, markersize=4)
        axis.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        density = row["features.density"]
        axis.set_title(
            f"density {density:.3g}\nbest of {restarts[density]}, loss fraction {row['loss_fraction']:.2g}", fontsize=7
        )
    for axis in axes.flat[len(best) :]:
        axis.set_visible(False)
    return figure
