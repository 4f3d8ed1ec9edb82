"""Paired: a number a seed of every arm of a run's regimes, at every eps, and the differences of arms that share seeds.

Regimes are those of a verdict (`toymodels.sweeps.verdict.regimes`): arms differ in the hidden layer alone, and the k-th
model of each has the same seed and so has seen the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.hypotheses.arms import MAIN, PLAIN
from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.reply import UNCORRECTED, estimate
from toymodels.sweeps.verdict.regimes import regimes
from toymodels.training.experiment import Experiment

ARM_TABLE = "an arm of a regime: means over its models, over seeds"
DIFFERENCE_TABLE = "two arms of a regime: the one minus the other, seed by seed"
WITH_NORM = f"{PLAIN} + LN"
PAIRS = (
    (MAIN, PLAIN),
    (WITH_NORM, PLAIN),
    (MAIN, WITH_NORM),
    ("solu", PLAIN),
    (MAIN, "solu"),
    (MAIN, "relu"),
    (MAIN, "relu + LN"),
    (MAIN, "linear + LN"),
)
"""The arms that are compared, the first minus the second, where both are there."""

Measure = Callable[[Sequence[Experiment], Parameters, int], Mapping[str, Tensor]]
"""Of the models of an arm and how many samples to look at: numbers by name, [model] each."""


@dataclass(frozen=True)
class MeasuredRegime:
    """The numbers of a regime at one eps: by arm, then by measure, float64 [seed] each, NaN where undefined."""

    name: str
    eps: str
    primary: bool
    arms: Mapping[str, Mapping[str, Tensor]]


def measured(run: Run, measure: Measure, say: Callable[[str], None]) -> tuple[list[MeasuredRegime], list[str]]:
    """What ``measure`` and the table of models say of every arm, the primary regime first, and notes.

    Raises `FolderError` where the run holds no regime that can be judged.
    """
    found, notes = regimes(run)
    losses = run.models.set_index("model")["loss_fraction"]
    out = []
    for regime in found:
        say(f"{regime.name}: {len(regime.seeds)} seeds")
        known: dict[tuple[int, ...], Mapping[str, Tensor]] = {}  # without LayerNorm the same models at every eps
        for eps, arms in regime.arms.items():
            for models in map(tuple, arms.values()):
                if models not in known:
                    numbers = measure(*run.batch(models), regime.settings["eval.samples"])
                    loss = torch.tensor(losses.loc[list(models)].tolist(), dtype=torch.float64)
                    known[models] = {name: each.double() for name, each in numbers.items()} | {"loss fraction": loss}
            of_arms = {name: known[tuple(models)] for name, models in arms.items()}
            out.append(MeasuredRegime(regime.name, eps, regime.primary, of_arms))
    return out, [UNCORRECTED, *notes, *(note for regime in found for note in regime.notes)]


def arm_table(found: Sequence[MeasuredRegime]) -> pd.DataFrame:
    """A row an arm and measure of every regime at every eps."""
    return pd.DataFrame(
        {"regime": of.name, "eps": of.eps, "arm": arm, "measure": name} | estimate(each.numpy())
        for of in found
        for arm, numbers in of.arms.items()
        for name, each in numbers.items()
    )


def difference_table(found: Sequence[MeasuredRegime], margin: float, judged: Collection[str]) -> pd.DataFrame:
    """A row a pair of `PAIRS` and measure of every regime at every eps; ``more`` is what its interval says of "more by
    the margin", of the measures that are ``judged``."""
    columns = ("regime", "eps", "arm", "minus", "measure", *estimate([]), "more")
    rows = [
        {"regime": of.name, "eps": of.eps, "arm": one, "minus": other, "measure": name}
        | estimate(difference.numpy())
        | {"more": from_seeds(name, difference, margin).status.value if name in judged else None}
        for of in found
        for one, other in PAIRS
        if one in of.arms and other in of.arms
        for name in of.arms[one]
        for difference in [of.arms[one][name] - of.arms[other][name]]
    ]
    return pd.DataFrame(rows, columns=list(columns))


def difference(of: MeasuredRegime, one: str, other: str, measure: str) -> Tensor | None:
    """The one arm minus the other, [seed]; None where one of them is not there."""
    if one not in of.arms or other not in of.arms:
        return None
    return of.arms[one][measure] - of.arms[other][measure]


def status_of(numbers: Tensor | None, margin: float) -> Status:
    """What one number a seed says of being above the margin; undetermined where there is none."""
    return Status.UNDETERMINED if numbers is None else from_seeds("", numbers, margin).status
