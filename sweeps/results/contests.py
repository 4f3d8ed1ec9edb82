"""Contests: arms that may be compared by their loss, as they are of equal task and size.

A *task* is what the features are and what is asked of them, a *size* how many neurons there are and how long, and on
how many samples, they are trained. An arm is everything else that a run varies: the hidden layer, LayerNorm's eps, the
optimizer, the share of weights that is kept; what was tuned is each arm's own, and tells none from another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from toymodels.sweeps.plan.plan import OF_LAYER_NORM
from toymodels.sweeps.results.arms import HIDDEN_LAYER, PARTS_OF_LAWS, SEED_ALONE, condition, hidden_layer, title
from toymodels.sweeps.results.reading import Run

TASK = ("features.", "task.", "eval.", "model.embedding")
"""What the settings of a task begin with."""
SIZE = ("model.hidden", "train.steps", "train.batch")
WEIGHTS_KEPT = "train.weights_kept"


@dataclass(frozen=True)
class Contestant:
    """An arm of a contest: models that differ in their seed, and in what was tuned."""

    name: str
    """its hidden layer, and what else differs from the first arm's settings"""
    layer: str
    kept: float
    """the share of its weights that is kept"""
    models: pd.DataFrame
    """rows of the table of models, indexed by seed"""


@dataclass(frozen=True)
class Contest:
    """The arms of one task and size."""

    name: str
    """what tells it from the others; nothing where there is one"""
    settings: Mapping[str, Any]
    arms: Sequence[Contestant]

    def numbers(self, measure: str) -> Tensor:
        """A column of the table of models, float64 [arm, seed]; NaN where there is no model, or it says nothing."""
        table = pd.DataFrame({place: arm.models[measure] for place, arm in enumerate(self.arms)})
        return torch.tensor(table.to_numpy(float)).T


def contests(run: Run, models: pd.DataFrame, tuned: Sequence[str]) -> list[Contest]:
    """The contests among some ``models`` of a run, in plan order; models of one arm may differ in what is ``tuned``."""
    ours = [name for name in run.setting_columns if name in SIZE or name.startswith(TASK)]
    others = [name for name in run.setting_columns if name not in ours]
    regimes = run.arms(models, over=(*SEED_ALONE, *others))
    return [
        Contest(
            condition(regime.settings) if regime is regimes[0] else beside(regime.settings, regimes[0].settings),
            regime.settings,
            list(_arms_of(run, regime.models, (*ours, *tuned))),
        )
        for regime in regimes
    ]


def beside(settings: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Where settings differ from the first ones, what these have and they lack included: ``n 64, no embedding``."""
    lacking = [
        f"no {title(name)}"
        for name, value in settings.items()
        if value in (None, False)
        and first.get(name) not in (None, False)
        and name.rpartition(".")[2] not in PARTS_OF_LAWS
    ]
    return ", ".join([condition(settings, first)] * bool(condition(settings, first)) + lacking)


def _arms_of(run: Run, models: pd.DataFrame, over: Sequence[str]) -> Iterator[Contestant]:
    there: set[str] = set()
    first: dict[str, Any] = {}
    for found in run.arms(models, over=(*SEED_ALONE, *over)):
        activation, norm = (found.models[name].iloc[0] for name in HIDDEN_LAYER)
        unsaid = HIDDEN_LAYER if norm else (*HIDDEN_LAYER, *OF_LAYER_NORM)
        settings = {name: value for name, value in found.settings.items() if name not in unsaid}
        for name, value in settings.items():
            first.setdefault(name, value)
        layer, extra = hidden_layer(str(activation), bool(norm)), beside(settings, first)
        name = f"{layer}, {extra}" if extra else layer
        if name not in there:  # without LayerNorm a layer is the same at every eps
            there.add(name)
            kept = float(found.models[WEIGHTS_KEPT].iloc[0]) if WEIGHTS_KEPT in found.models else 1.0  # of an older run
            yield Contestant(name, layer, kept, found.models.set_index("seed", drop=False))
