"""Inspection: how many neurons look interpretable in each hidden layer, by the rule and by persons; and P8.

Elhage et al. 2022, *Softmax Linear Units*: of GeLU's neurons 35 %, of SoLU + LayerNorm's 60 % look interpretable to
people who see their strongest examples, and LayerNorm without SoLU lands about halfway.

* *looks interpretable*: the share of live neurons that the rule calls so (`toymodels.metrics.inspection`); *in a random
  basis* the same of the layer with its preactivations rotated at random, a rotation a model: what the rule finds where
  no basis is special. Undefined where no neuron could look so, whatever it did (`Strongest.testable`): then what is
  asked of the rule is *not testable*, which is not "no".
* of all examples (`toymodels.metrics.selectivity`), means over live neurons: *best feature's R²*, *AUROC*, *activity
  elsewhere* (of other features than the neuron's main one), *monosemanticity*.
* *more* is said of a difference whose interval lies above the margin `MARGIN`, five neurons in a hundred, a fifth of
  what the paper found; fixed beforehand, and the same for every measure, as all are shares.
* P8, LayerNorm without SoLU lies between GeLU and SoLU + LayerNorm: both GeLU + LN minus GeLU and SoLU + LN minus
  GeLU + LN are above the margin. *Not supported* where either lies below it. In all eps: as they agree, else
  undetermined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.hosts import Models
from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.statistics.intervals import Status, all_of, unanimous
from toymodels.metrics.inspection import strongest
from toymodels.metrics.moments import collect
from toymodels.metrics.selectivity import selectivity
from toymodels.rotations import rotations_of
from toymodels.surgery import Rotated
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import persons
from toymodels.sweeps.studies.paired import (
    ARM_TABLE,
    DIFFERENCE_TABLE,
    WITH_NORM,
    MeasuredRegime,
    arm_table,
    difference,
    difference_table,
    measured,
    status_of,
)
from toymodels.sweeps.studies.reply import Reply, estimate, said
from toymodels.training.experiment import Experiment

QUESTION = "Do more neurons look interpretable with SoLU, by their strongest examples and by all examples?"
BETWEEN_TABLE = "P8, LayerNorm without SoLU lies between GeLU and SoLU + LN: what each regime says"
SHARE = "looks interpretable"
BY_CHANCE = "in a random basis"
WHOLE = {
    "best_r2": "best feature's R²",
    "auroc": "AUROC",
    "elsewhere": "activity elsewhere",
    "monosemanticity": "monosemanticity",
}
"""The measures of all examples, by their names in `Selectivity`."""
MARGIN = 0.05
NOT_TESTABLE = Answer.NOT_TESTABLE.value
CANNOT_SHOW = "Not testable by the rule: no feature is in enough distinct active sets for a neuron to show it"


def answer(run: Run, say: Callable[[str], None]) -> Reply:
    """The shares of every arm. Raises `FolderError` where the run has no SoLU + LN, or is damaged."""
    found, notes = measured(run, measure, say)
    of_persons, unfinished = persons.of_run(run)
    between = [
        {"regime": of.name, "eps": of.eps, "P8": lies_between(of).value if testable(of) else NOT_TESTABLE}
        for of in found
    ]
    tables = {
        BETWEEN_TABLE: pd.DataFrame(between),
        ARM_TABLE: arm_table(found),
        DIFFERENCE_TABLE: difference_table(found, MARGIN, (SHARE, BY_CHANCE, *WHOLE.values())),
    }
    return Reply(QUESTION, _sentence(found), tables | of_persons, (*notes, *unfinished))


def measure(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Mapping[str, Tensor]:
    """What is said of an arm's models, [model] each."""
    inspected, models = strongest(experiments, parameters, samples), Models(experiments, parameters)
    bottleneck = experiments[0].bottleneck
    Q = rotations_of(bottleneck, len(experiments), 0)
    turned = strongest(experiments, Rotated(Q).on_parameters(parameters), samples)
    whole = selectivity(models, collect(models, samples))
    live = ~inspected.dead
    could = inspected.testable[:, None]
    return {
        SHARE: mean_over(inspected.interpretable.double(), live & could),
        BY_CHANCE: mean_over(turned.interpretable.double(), ~turned.dead & could),
        **{name: mean_over(getattr(whole, field), live) for field, name in WHOLE.items()},
        "dead neurons": inspected.dead.sum(1),
    }


def lies_between(of: MeasuredRegime) -> Status:
    """P8 in a regime at an eps."""
    steps = ((WITH_NORM, PLAIN), (MAIN, WITH_NORM))
    return all_of([status_of(difference(of, one, other, SHARE), MARGIN) for one, other in steps])


def testable(of: MeasuredRegime) -> bool:
    """Whether the rule could call a neuron of some arm interpretable."""
    return any(bool(numbers[SHARE].isfinite().any()) for numbers in of.arms.values())


def _sentence(found: Sequence[MeasuredRegime]) -> str:
    """The first regime at its first eps, with what holds at every eps."""
    first = found[0]
    every = [of for of in found if of.name == first.name]
    shares = ", ".join(
        f"{arm} {said(estimate(first.arms[arm][SHARE].numpy()), 2)}"
        for arm in (PLAIN, WITH_NORM, MAIN)
        if arm in first.arms
    )
    gained, explained = (difference(first, MAIN, PLAIN, name) for name in (SHARE, WHOLE["best_r2"]))
    seeds = len(next(iter(first.arms.values()))[SHARE])
    told = f"By the rule so many live neurons look interpretable: {shares} ({first.name}, {seeds} seeds)"
    if not testable(first):
        told = f"{CANNOT_SHOW} ({first.name}, {seeds} seeds)"
    if gained is None or explained is None:
        return f"{told}; there is no {PLAIN} to compare with."
    whole = f"over all examples its best feature explains {said(estimate(explained.numpy()), 2)} more of a neuron's"
    if not testable(first):
        return f"{told}; SoLU + LN minus GeLU, {whole} variance."
    more = unanimous([status_of(difference(of, MAIN, PLAIN, SHARE), MARGIN) for of in every])
    p8 = unanimous([lies_between(of) for of in every])
    return (
        f"{told}; SoLU + LN minus GeLU {said(estimate(gained.numpy()), 2)}, more: {more.value} at every eps; {whole} "
        f"variance; P8, LayerNorm alone lies between: {p8.value}."
    )
