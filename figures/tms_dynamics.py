"""tms_dynamics: D_i of every feature and the loss over training, of the model of each arm whose loss has most drops.

A column an arm. Above, every feature's dimensionality, thick where it jumps; below, the loss fraction on fresh samples.
Shaded are the windows in which the loss drops (Elhage et al. 2022, *Toy Models of Superposition*).
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from toymodels.figures.colours import hue, ink, sequence
from toymodels.figures.drawing import WIDTH
from toymodels.metrics.trajectory import Trajectory
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_dynamics
from toymodels.sweeps.studies.document import read
from toymodels.sweeps.studies.tms_dynamics import drops_of, jumps_of, of_model

MOST_ARMS = 4
LEVELS = (0.0, 0.5, 1.0)
FIRST = 30
"""the step from which training is shown, where it is that long: before, hardly anything moves"""


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_dynamics`` ran, and for too many arms."""
    models = read(run, "tms_dynamics").tables[tms_dynamics.MODELS]
    arms = list(models.groupby("arm", sort=False))
    if len(arms) > MOST_ARMS:
        raise FolderError(f"{run.path}: this figure has room for {MOST_ARMS} arms, the run has {len(arms)}")
    figure = Figure(figsize=(min(WIDTH, 1.0 + 2.5 * len(arms)), 4.0))
    panels = figure.subplots(2, len(arms), squeeze=False, sharex="col", height_ratios=[1.6, 1])
    for (name, rows), (above, below) in zip(arms, panels.T, strict=True):
        shown = rows.sort_values("drops", ascending=False, kind="stable").iloc[0]
        way = of_model(run, int(shown["model"]))
        size, density, start = str(name).split(", ")
        above.set_title(f"{size},\n{density}, {start} (seed {shown['seed']})", fontsize=7)
        draw_dimensionalities(above, way)
        below.plot(way.step, way.loss_fraction, color=ink(0.8))
        below.set(yscale="log", xscale="log", xlabel="step", xlim=(min(FIRST, way.step[-1] / 2), way.step[-1]))
        below.yaxis.set_minor_formatter(NullFormatter())
        for axis in (above, below):
            for drop in drops_of(way):
                axis.axvspan(drop.start, drop.end, color=hue("orange"), alpha=0.35, linewidth=0)
    panels[0][0].set_ylabel("dimensionality $D_i$")
    panels[1][0].set_ylabel("loss fraction")
    return figure


def draw_dimensionalities(axis: Axes, way: Trajectory) -> None:
    """Every D_i over training, thick where it jumps, with the levels of absent, paired and lone features."""
    shades = sequence(len(way.dimensionality))
    for D, shade in zip(way.dimensionality, shades, strict=True):
        axis.plot(way.step, D, color=shade, linewidth=0.7)
    for jump in jumps_of(way):
        inside = (way.step >= jump.start * 0.999) & (way.step <= jump.end * 1.001)
        axis.plot(way.step[inside], way.dimensionality[jump.series][inside], color=shades[jump.series], linewidth=2.4)
    axis.set(ylim=(-0.03, 1.03), yticks=LEVELS)
