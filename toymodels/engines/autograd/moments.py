"""Moments by torch operations, the reference: the forward pass chunk by chunk, each moment added up in float64."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, Taps, forward
from toymodels.engines.moment_table import TAPS
from toymodels.examples import Examples, Source
from toymodels.losses import Loss, Squared
from toymodels.training.experiment import Experiment, examples_of, importances

CHUNK = 1024
"""samples of one forward pass, within which sums have the precision of the model"""


def sums(experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]) -> list[dict[str, Tensor]]:
    """Sums over the samples between two edges, for each fold; see `Engine.moments`."""
    e, importance = experiments[0], torch.from_numpy(importances(experiments))
    return sums_of(e.bottleneck, parameters, e.cost, importance, examples_of(experiments, parameters.W_in), edges)


def sums_of(
    bottleneck: Bottleneck,
    parameters: Parameters,
    loss: Loss,
    importance: Tensor,
    examples: Source,
    edges: Sequence[int],
) -> list[dict[str, Tensor]]:
    """The same of layers of one architecture and any examples; ``importance`` [model, target]."""
    folds = []
    for begin, end in pairwise(edges):
        of_fold: dict[str, Tensor] = {}
        for start in range(begin, end, CHUNK):
            of_chunk = examples(start, min(CHUNK, end - start))
            taps = forward(bottleneck, parameters, of_chunk.x)
            for key, value in sums_of_taps(of_chunk, taps, loss, importance).items():
                of_fold[key] = of_fold[key] + value.double() if key in of_fold else value.double()
        folds.append(of_fold)
    return folds


def sums_of_taps(examples: Examples, taps: Taps, loss: Loss, importance: Tensor) -> dict[str, Tensor]:
    """Sums over the examples of one forward pass, by the keys of the table of moments."""
    t, y, cost = examples.t, loss.prediction(taps.out), loss(examples.t, taps.out)
    squared_error = cost if isinstance(loss, Squared) else (t - y).square()
    found = {
        "active": examples.active.sum(2),
        "t": t.sum(2),
        "tt": t.square().sum(2),
        "y": y.sum(2),
        "yy": y.square().sum(2),
        "squared_error": squared_error.sum(2),
        "cost": cost.sum(2),
        "squared_loss": (importance.to(cost)[:, :, None] * cost).sum(1).square().sum(1),
        "mid_pre": taps.mid @ taps.pre.transpose(1, 2),
    }
    for name in TAPS:
        tap = getattr(taps, name)
        found[f"tap {name}"] = tap.sum(2)
        found[f"tap_squared {name}"] = tap.square().sum(2)
        found[f"tap_target {name}"] = tap @ t.transpose(1, 2)
        found[f"tap_tap {name}"] = tap @ tap.transpose(1, 2)
    return found
