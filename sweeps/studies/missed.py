"""Missed: how much of what a model does is carried by features that no neuron shows who inspects its neurons.

Readers of Elhage et al. 2022, *Softmax Linear Units*, worried that a model whose neurons look interpretable may only
look so. A neuron shows the features that its strongest examples have in common (`toymodels.metrics.inspection`). Of
each hidden layer (`toymodels.metrics.unshown`):

* *features missed*: the share of the recovered features that no neuron shows;
* *loss missed*: the share of what the model gains in loss over the best constant that is gained on unshown features;
* *ablated*: the share of that gain that is lost when every neuron that shows nothing is held at its mean;
  *refitted*: the same with the read-out fitted anew to what is left;
* *features shown*, *recovered*, and *showing neurons*: counts.

The shares are undefined where no neuron could show a feature, whatever it did (`Strongest.testable`): all would be
missed, of every layer.

*more* is said of a difference of shares whose interval lies above `MARGIN`, five in a hundred, fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.metrics.inspection import strongest
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import RECOVERED, r2
from toymodels.metrics.unshown import unshown
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.inspection import CANNOT_SHOW
from toymodels.sweeps.studies.paired import (
    ARM_TABLE,
    DIFFERENCE_TABLE,
    arm_table,
    difference,
    difference_table,
    measured,
)
from toymodels.sweeps.studies.reply import Reply, estimate, said
from toymodels.training.experiment import Experiment

QUESTION = "If one only looked at neurons' strongest examples, how much of what a model does would be missed?"
SHARES = {
    "features": "features missed",
    "achieved": "loss missed",
    "ablated": "ablated",
    "refitted": "refitted",
}
"""By their names in `Unshown`."""
MARGIN = 0.05


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """The shares of every arm. Raises `FolderError` where the run has no SoLU + LN, or is damaged."""
    found, notes = measured(run, measure, say)
    first, name = found[0], SHARES["achieved"]
    shares = ", ".join(f"{arm} {said(estimate(numbers[name].numpy()), 2)}" for arm, numbers in first.arms.items())
    seeds = len(next(iter(first.arms.values()))[name])
    gap = difference(first, MAIN, PLAIN, name)
    than = "" if gap is None else f"; SoLU + LN minus GeLU {said(estimate(gap.numpy()), 2)}"
    sentence = (
        f"Of what a layer gains in loss, this share is gained on features that no neuron shows: {shares}{than} "
        f"({first.name}, {seeds} seeds)."
    )
    if not any(bool(numbers[name].isfinite().any()) for numbers in first.arms.values()):
        sentence = f"{CANNOT_SHOW} ({first.name}, {seeds} seeds)."
    tables = {ARM_TABLE: arm_table(found), DIFFERENCE_TABLE: difference_table(found, MARGIN, tuple(SHARES.values()))}
    return Reply(QUESTION, sentence, tables, notes)


def measure(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Mapping[str, Tensor]:
    """What is said of an arm's models, [model] each."""
    inspected = strongest(experiments, parameters, samples)
    shows = inspected.shows
    models = Models(experiments, parameters)
    moments = collect(models, samples)
    shares = unshown(models, shows, moments)
    return {
        **{name: getattr(shares, field).where(inspected.testable, torch.nan) for field, name in SHARES.items()},
        "features shown": shows.any(1).sum(1),
        "features recovered": (r2(moments) > RECOVERED).sum(1),
        "showing neurons": shows.any(2).sum(1),
    }
