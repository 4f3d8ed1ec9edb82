"""tms_geometry: every feature's dimensionality against 1 / density, on the lines of regular arrangements.

Dots are features of all seeds that are present; the line is D* = m / |W|_F^2, its band the 95 % interval over seeds. On
the right how many features, of all densities, have which dimensionality: clusters on the lines are plateaus (Elhage et
al. 2022, *Toy Models of Superposition*, section 4).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from matplotlib.figure import Figure

from toymodels.figures.colours import hue, ink
from toymodels.figures.drawing import WIDTH
from toymodels.metrics.arrangement import PRESENT
from toymodels.metrics.plateaus import PLATEAUS
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import tms_geometry
from toymodels.sweeps.studies.document import read

BINS = np.linspace(0, 1.005, 202)


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` before ``toymodels answer tms_geometry`` ran."""
    means = read(run, "tms_geometry").tables[tms_geometry.MODELS]
    means = means.astype({"low": float, "high": float})  # of a single seed they are null
    features = run.features[run.features["norm"] >= PRESENT]
    figure = Figure(figsize=(WIDTH, 4.2))
    axis, side = figure.subplots(1, 2, sharey=True, width_ratios=[3.2, 1])
    axis.plot(1 / features["density"], features["dimensionality"], ".", color=hue("blue"), markersize=3, alpha=0.15)
    axis.plot(1 / means["density"], means["mean"], color=hue("vermillion"), label="$D^* = m / |W|_F^2$")
    axis.fill_between(
        1 / means["density"], means["low"], means["high"], color=hue("vermillion"), alpha=0.3, linewidth=0
    )
    axis.set(xscale="log", xlabel="1 / density", ylabel="dimensionality $D_i$", ylim=(0, 1.05))
    axis.legend(loc="upper right", fontsize=8)
    side.hist(features["dimensionality"], bins=list(BINS), orientation="horizontal", color=hue("blue"))
    side.set(xscale="log", xlabel="features")
    for name, value in PLATEAUS.items():
        for each in (axis, side):
            each.axhline(value, color=ink(0.6), linewidth=0.6, linestyle="--")
        label, above = f"{name} {Fraction(value).limit_denominator(10)}", name != "square antiprism"
        beside = {"xycoords": ("axes fraction", "data"), "ha": "left", "va": "bottom" if above else "top"}
        side.annotate(label, (1.02, value), fontsize=6.5, **beside)
    axis.grid(visible=False)
    side.grid(visible=False)
    return figure
