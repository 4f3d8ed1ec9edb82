"""The null of alignment: what would the measure say of a model whose hidden basis means nothing?

W_in (with an embedding W_in E) is replaced by Q W_in, Q Haar-random, and *then* the activation is applied: activations
sharpen, so rotating the responses instead would call random directions aligned. `DRAWS` rotations a model, all its
features pooled. Of signed features a rotated model's responses are measured as the model's own are, on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, directions
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.responses import mean_active_values, response_sizes
from toymodels.rotations import haar
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment

DRAWS = 1000
DRAWS_AT_ONCE = 50
WITH_NULLS = ("weight_alignment", "response_alignment", "participation_ratio")


@dataclass(frozen=True)
class Null:
    """The pooled null values of one measure, sorted: ``[model, draw x feature]``, NaN last."""

    values: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", self.values.sort(dim=1).values)  # NaN sorts last

    @property
    def defined(self) -> Tensor:
        """How many null values of each model are defined: [model]."""
        return (~self.values.isnan()).sum(1)

    def percentile(self, measured: Tensor) -> Tensor:
        """Percent of null values strictly below: [model, feature]; NaN where the measure or the null is undefined."""
        defined = self.defined[:, None]
        ordered = self.values.nan_to_num(nan=torch.inf)  # a binary search must not meet NaN
        below = torch.searchsorted(ordered, measured.contiguous(), right=False)
        return torch.where(measured.isnan() | (defined == 0), torch.nan, 100.0 * below / defined)

    def quantile(self, percent: float) -> Tensor:
        """The smallest null value with at least ``percent`` percent at or below it: [model]; NaN without a null."""
        index = torch.ceil(percent / 100 * self.defined).long().clamp(min=1) - 1
        return self.values.gather(1, index[:, None])[:, 0]


@lru_cache(maxsize=1)
def _rotations(size: int) -> Tensor:
    """The same `DRAWS` rotations for every model of this width, from seed 0: float32 ``[draw, size, size]``."""
    return torch.cat([haar(np.zeros(1, np.int64), size, step=1 + draw) for draw in range(DRAWS)]).float()


@undisturbed
def rotation_nulls(
    bottleneck: Bottleneck,
    parameters: Parameters,
    values: Tensor,
    measures: Sequence[str] = WITH_NULLS,
    *,
    signed: bool,
) -> dict[str, Null]:
    """The null of each of ``measures``, for a batch of models; ``values`` and ``signed`` as in `response_sizes`."""
    W, b_in = directions(parameters), parameters.b_in
    n_models, n_hidden, _ = W.shape
    pooled: dict[str, list[Tensor]] = {name: [] for name in measures}
    for chunk in _rotations(n_hidden).to(W).split(DRAWS_AT_ONCE):
        # [model, draw, hidden, feature] as a batch of model x draw models.
        rotated = Parameters(
            W_in=torch.einsum("dkh,mhf->mdkf", chunk, W).flatten(0, 1),
            b_in=None if b_in is None else b_in.repeat_interleave(len(chunk), dim=0),
        )
        size = response_sizes(bottleneck, rotated, values.repeat_interleave(len(chunk), dim=0), signed=signed)
        measure = _measures(directions(rotated), size)
        for name in measures:
            pooled[name].append(measure[name]().view(n_models, -1))
    return {name: Null(torch.cat(chunks, dim=1)) for name, chunks in pooled.items()}


def rotation_nulls_of(
    experiments: Sequence[Experiment], parameters: Parameters, measures: Sequence[str] = WITH_NULLS
) -> dict[str, Null]:
    """The nulls of models of one structure: `rotation_nulls` at their own features' values."""
    e, values = experiments[0], mean_active_values(experiments, parameters.W_in)
    return rotation_nulls(e.bottleneck, parameters, values, measures, signed=e.features.signed)


def _measures(W_in: Tensor, size: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {
        "weight_alignment": lambda: weight_alignment(W_in),
        "response_alignment": lambda: response_alignment(size),
        "participation_ratio": lambda: participation_ratio(size),
    }
