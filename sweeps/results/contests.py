"""Contests: arms that may be compared by their loss, as they are of equal task and size.

A *task* is what the features are and what is asked of them, a *size* how many neurons there are and how long, and on
how many samples, they are trained. An arm is everything else that a run varies: the hidden layer, LayerNorm's eps, the
optimizer, the share of weights that is kept; what was tuned is each arm's own, and tells none from another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from toymodels.sweeps.plan.plan import OF_LAYER_NORM
from toymodels.sweeps.results.arms import HIDDEN_LAYER, SEED_ALONE, conditions, hidden_layer
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
    names = conditions([regime.settings for regime in regimes])
    return [
        Contest(name, regime.settings, _arms_of(run, regime.models, (*ours, *tuned)))
        for name, regime in zip(names, regimes, strict=True)
    ]


def _arms_of(run: Run, models: pd.DataFrame, over: Sequence[str]) -> list[Contestant]:
    """The arms among some models, each named by its hidden layer and what else it is beside the first."""
    apart: dict[str, tuple[str, dict[str, Any], pd.DataFrame]] = {}
    for found in run.arms(models, over=(*SEED_ALONE, *over)):
        activation, norm = (found.models[name].iloc[0] for name in HIDDEN_LAYER)
        unsaid = HIDDEN_LAYER if norm else (*HIDDEN_LAYER, *OF_LAYER_NORM)
        settings = {name: value for name, value in found.settings.items() if name not in unsaid}
        layer = hidden_layer(str(activation), bool(norm))
        # Without LayerNorm a layer is the same at every eps.
        apart.setdefault(repr((layer, settings)), (layer, settings, found.models))
    said = conditions([settings for _, settings, _ in apart.values()], [layer for layer, _, _ in apart.values()])
    return [
        Contestant(f"{layer}, {extra}" if extra else layer, layer, _kept(rows), rows.set_index("seed", drop=False))
        for extra, (layer, _, rows) in zip(said, apart.values(), strict=True)
    ]


def _kept(models: pd.DataFrame) -> float:
    return float(models[WEIGHTS_KEPT].iloc[0]) if WEIGHTS_KEPT in models else 1.0  # of an older run
