"""Coverage: how many masks the data need.

*Met*: the share of examples whose mask is among the K most common ones. *Kept*: with K affine maps
(`toymodels.hypotheses.linearisation.effective`), every example run through the one of them that suits it best,

    kept(K) = 1 - sum_x min_{k <= K} |y_k(x) - y(x)|^2 / sum_x |y(x) - mean y|^2

the maps chosen greedily among candidates, each the one that leaves least. Of independent examples, half choose and the
others say what is kept. That the best map is known for each example makes kept(K) an upper bound for any rule that must
find it from x. Beside it stands the best affine map of all, fitted to the same examples: nothing frozen.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, forward
from toymodels.hypotheses.linearisation.effective import EffectiveMaps, effective_maps

SHARE = 0.9
"""Of the examples, or of the variance, that counts as the data explained."""
MAPS_AT_ONCE = 16


def met(codes: np.ndarray) -> np.ndarray:
    """The share of the examples [sample] that have one of the K most common codes, K = 1, 2, ...: float64 [code]."""
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    return np.cumsum(counts) / len(codes)


def fewest(shares: np.ndarray, share: float = SHARE) -> float:
    """The smallest K of which ``shares`` [K] are at least ``share``; NaN where they never are."""
    enough = np.flatnonzero(np.asarray(shares) >= share - 1e-12)
    return float(enough[0] + 1) if len(enough) else np.nan


def most_common(codes: np.ndarray, most: int) -> np.ndarray:
    """The first example of each of the ``most`` most common codes [sample], the more common first; of equally common
    ones the earlier. int64 [at most ``most``]."""
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return first[np.lexsort((first, -counts))][:most]


def map_errors(bottleneck: Bottleneck, parameters: Parameters, at: Tensor, x: Tensor) -> Tensor:
    """|y_p(x) - y(x)|^2 of the maps of ``at`` [model, feature, point] on x [model, feature, batch]: [model, point,
    batch]."""
    maps = effective_maps(bottleneck, parameters, at)
    y = forward(bottleneck, parameters, x.to(parameters.W_in)).readout[:, None]
    parts = range(0, at.shape[2], MAPS_AT_ONCE)
    some = [EffectiveMaps(maps.B[:, k : k + MAPS_AT_ONCE], maps.c[:, k : k + MAPS_AT_ONCE]) for k in parts]
    return torch.cat([(each(x.to(y)) - y).square().sum(2) for each in some], 1)


def greedy(errors: Tensor) -> list[int]:
    """All candidates of ``errors`` [candidate, sample], each next the one that leaves the least sum of each sample's
    smallest error; of equal ones the earlier."""
    order: list[int] = []
    left, best = list(range(len(errors))), torch.full_like(errors[0], torch.inf)
    while left:
        sums = torch.minimum(errors[left], best).double().sum(1)
        order.append(left.pop(int(sums.argmin())))
        best = torch.minimum(best, errors[order[-1]])
    return order


def kept(errors: Tensor, y: Tensor, order: Sequence[int]) -> np.ndarray:
    """kept(K), K = 1, 2, ..., of maps in this order: ``errors`` [candidate, sample], y [target, sample]."""
    best = errors[list(order)].double().cummin(0).values.sum(1)
    return (1 - best / y.double().var(1, correction=0).sum() / y.shape[1]).numpy()


def kept_affine(x: Tensor, y: Tensor, fit: int) -> float:
    """The share of y's variance [target, sample] that the best affine map of x [feature, sample] keeps, fitted on the
    first ``fit`` samples and judged on the others."""
    design = torch.cat([x, torch.ones_like(x[:1])]).double().T
    weights = torch.linalg.lstsq(design[:fit], y[:, :fit].double().T, driver="gelsd").solution
    judged = y[:, fit:].double()
    error = (design[fit:] @ weights).T - judged
    return float(1 - error.square().sum() / (judged - judged.mean(1, keepdim=True)).square().sum())
