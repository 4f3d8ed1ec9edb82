"""The null of alignment: what would the measure say of a model whose hidden basis means nothing?

    z = W_in x + b_in  ->  Q z,    Q Haar-random; fixing 1 = (1, ..., 1) where there is a LayerNorm

(W_in E x + b_in in a decoder), and *then* the activation is applied: activations sharpen, so rotating the responses
instead would call random directions aligned. All that a neuron reads is turned, its gate as well. Neurons of different
blocks or experts could not stand for each other, so there Q turns those of each among themselves. LayerNorm singles out
the direction 1, in whatever basis the rest is, so there the basis is turned about it. `DRAWS` rotations a model, and
one null a feature: under SoLU a long random column looks more aligned than a short one, so a null pooled over features
is no feature's own. Rotated models are measured as the model is: signed features on both sides, responses and columns
gauged (`toymodels.metrics.gauge`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.layer_norm import about_median
from toymodels.metrics.alignment import participation_ratio, response_alignment, weight_alignment
from toymodels.metrics.gauge import gauged_directions
from toymodels.parameters import TURNED, folded
from toymodels.responses import mean_active_values, response_sizes
from toymodels.rotations import rotations_of
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.models import Models

DRAWS = 200
DRAWS_AT_ONCE = 50
WITH_NULLS = ("weight_alignment", "response_alignment", "participation_ratio")
ROUNDING = 1e-6
"""share of a measure within which a null value equals it: where every basis says the same, rounding must not decide"""


@dataclass(frozen=True)
class Null:
    """The null values of one measure, feature by feature, sorted: ``[model, feature, draw]``, NaN last."""

    values: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", self.values.sort(dim=2).values)  # NaN sorts last

    @property
    def defined(self) -> Tensor:
        """How many null values of each feature are defined: [model, feature]."""
        return (~self.values.isnan()).sum(2)

    def percentile(self, measured: Tensor) -> Tensor:
        """Percent of a feature's null values that are below what is measured of it, by more than `ROUNDING`: [model,
        feature], a multiple of 100 / draws; NaN where the measure or the null is undefined."""
        defined = self.defined
        below = (self.values < (measured * (1 - ROUNDING))[:, :, None]).sum(2)
        return torch.where(measured.isnan() | (defined == 0), torch.nan, 100.0 * below / defined)

    def quantile(self, percent: float) -> Tensor:
        """The smallest null value with at least ``percent`` percent at or below it: [model, feature]; NaN without a
        null."""
        index = torch.ceil(percent / 100 * self.defined).long().clamp(min=1) - 1
        return self.values.gather(2, index[:, :, None])[:, :, 0]


@undisturbed
def rotation_nulls(
    bottleneck: Bottleneck,
    parameters: Parameters,
    values: Tensor,
    measures: Sequence[str] = WITH_NULLS,
    *,
    signed: bool,
    seed: int = 0,
) -> dict[str, Null]:
    """The null of each of ``measures``, for a batch of models; ``values`` and ``signed`` as in `response_sizes`.

    Every model of one width is turned by the same rotations, those that ``seed`` draws.
    """
    of_features = folded(parameters)
    n_models, _, n_features = of_features.W_in.shape
    drawn: dict[str, list[Tensor]] = {name: [] for name in measures}
    for chunk in rotations_of(bottleneck, DRAWS, seed).to(of_features.W_in).split(DRAWS_AT_ONCE):
        rotated = _by_each(of_features, chunk)
        size = response_sizes(bottleneck, rotated, values.repeat_interleave(len(chunk), dim=0), signed=signed)
        measure = _measures(gauged_directions(bottleneck, rotated, about_median), size)
        for name in measures:
            drawn[name].append(measure[name]().view(n_models, len(chunk), n_features))
    return {name: Null(torch.cat(chunks, dim=1).transpose(1, 2)) for name, chunks in drawn.items()}


def rotation_nulls_of(models: Models, measures: Sequence[str] = WITH_NULLS, *, seed: int = 0) -> dict[str, Null]:
    """The nulls of trained models: `rotation_nulls` at their own features' values."""
    values = mean_active_values(models.experiments, models.parameters.W_in)
    return rotation_nulls(models.bottleneck, models.parameters, values, measures, signed=models.signed, seed=seed)


def _by_each(parameters: Parameters, rotations: Tensor) -> Parameters:
    """Of models without embedding, each rotated by each: a batch of model x draw models."""
    named = {name: each for name, each in parameters.present().items() if name in TURNED}
    turned = {
        name: torch.einsum("dkh,mhf->mdkf" if each.dim() == 3 else "dkh,mh->mdk", rotations, each).flatten(0, 1)
        for name, each in named.items()
    }
    router = parameters.W_router
    repeated = None if router is None else router.repeat_interleave(len(rotations), dim=0)
    return Parameters(**turned, W_router=repeated)


def _measures(W: Tensor, size: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {
        "weight_alignment": lambda: weight_alignment(W),
        "response_alignment": lambda: response_alignment(size),
        "participation_ratio": lambda: participation_ratio(size),
    }
