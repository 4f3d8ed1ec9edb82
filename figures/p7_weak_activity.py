"""P7: the share of neurons' activity that is not of their main feature, from their weakest to their strongest tenth.

A line an arm, at mid (about the median over neurons where a LayerNorm follows) and at post: the mean over live neurons
and its 95 % interval over seeds (Student's t). Elhage et al. 2022, *Softmax Linear Units*, figure 9, show one neuron of
a language model this way.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from toymodels.figures.arm_bars import arm_colour
from toymodels.figures.drawing import WIDTH
from toymodels.figures.regime import shown
from toymodels.hypotheses.statistics.intervals import student_interval
from toymodels.sweeps.results.reading import Run


def draw(run: Run) -> Figure:
    """The figure of a run; raises `FolderError` where it has no verdict yet."""
    what = shown(run, __name__, "evidence_neurons")
    figure = Figure(figsize=(WIDTH, 3.0))
    axes = figure.subplots(1, 2, sharey=True)
    figure.suptitle(what.title, fontsize=8)
    for axis, tap in zip(axes, ("mid", "post"), strict=True):
        for arm in what.arms:
            by_seed = what.of(arm).groupby(["seed", "class"])[f"others_{tap}"].mean().unstack()
            found = [student_interval(by_seed[rank].to_numpy()) for rank in by_seed]
            mean = [np.nan if each is None else each.mean for each in found]
            axis.plot(by_seed.columns, mean, color=arm_colour(arm), label=arm, marker="o", markersize=3)
            ends = [(e.low, e.high) if e is not None and e.half_width is not None else (np.nan, np.nan) for e in found]
            axis.fill_between(by_seed.columns, *np.transpose(ends), color=arm_colour(arm), alpha=0.15, linewidth=0)
        axis.set(title=tap, ylim=(0, 1.05), xticks=[1, 5, 10])
    axes[0].set_ylabel("share of activity without\nthe main feature (95 %)")
    axes[1].legend(fontsize=7)
    figure.supxlabel("tenth of the neuron's activations, weakest to strongest", fontsize=9)
    return figure
