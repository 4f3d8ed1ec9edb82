"""Moments by torch operations, the reference: the forward pass chunk by chunk, each moment added up in float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.engines.moment_table import TAPS
from toymodels.losses import Squared
from toymodels.targets import Says
from toymodels.training.experiment import Experiment, importances, sampler, target_of

CHUNK = 1024
"""samples of one forward pass, within which sums have the precision of the model"""


def sums(experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]) -> list[dict[str, Tensor]]:
    """Sums over the samples between two edges, for each fold; see `Engine.moments`."""
    first, data, dtype = experiments[0], sampler(experiments), parameters.W_in.dtype
    importance, says = torch.from_numpy(importances(experiments)).to(dtype), target_of(experiments)
    folds = []
    for begin, end in pairwise(edges):
        of_fold: dict[str, Tensor] = {}
        for start in range(begin, end, CHUNK):
            x = data.evaluation(start, min(CHUNK, end - start)).to(dtype)
            for key, value in _of_chunk(first, parameters, importance, says, x).items():
                of_fold[key] = of_fold[key] + value.double() if key in of_fold else value.double()
        folds.append(of_fold)
    return folds


def _of_chunk(of: Experiment, parameters: Parameters, importance: Tensor, says: Says, x: Tensor) -> dict[str, Tensor]:
    """Sums over x ``[model, feature, sample]``, by the keys of the table of moments."""
    t, taps, loss = says(x), forward(of.bottleneck, parameters, x), of.cost
    y, cost = loss.prediction(taps.out), loss(t, taps.out)
    squared_error = cost if isinstance(loss, Squared) else (t - y).square()
    found = {
        "active": (x != 0).sum(2),
        "t": t.sum(2),
        "tt": t.square().sum(2),
        "y": y.sum(2),
        "yy": y.square().sum(2),
        "squared_error": squared_error.sum(2),
        "cost": cost.sum(2),
        "squared_loss": (importance[:, :, None] * cost).sum(1).square().sum(1),
        "mid_pre": taps.mid @ taps.pre.transpose(1, 2),
    }
    for name in TAPS:
        tap = getattr(taps, name)
        found[f"tap {name}"] = tap.sum(2)
        found[f"tap_squared {name}"] = tap.square().sum(2)
        found[f"tap_target {name}"] = tap @ t.transpose(1, 2)
        found[f"tap_tap {name}"] = tap @ tap.transpose(1, 2)
    return found
