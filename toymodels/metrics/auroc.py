"""AUROC: how well one neuron tells a feature's active examples from the others, whatever its scale.

    A = P(post of an active example > post of an inactive one) + P(they are equal) / 2

the area under the receiver operating characteristic, which is Mann and Whitney's U over the number of pairs (Hanley and
McNeil 1982, *The meaning and use of the area under a ROC curve*): 1/2 where the neuron says nothing. It depends on the
order of a neuron's values alone. A neuron that a feature turns down stands for it as well as one that it turns up, so
what is given is max(A, 1 - A), at least 1/2. It stands beside functional alignment, for targets that are 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import hidden
from toymodels.engines.autograd.moments import CHUNK
from toymodels.metrics.moments import Moments
from toymodels.metrics.recovery import best_neuron
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

AUROC_ON = 2**13
"""samples, at most"""


@undisturbed
def best_neuron_auroc(host: Host, moments: Moments, samples: int) -> Tensor:
    """max(A, 1 - A) of each target and the neuron of `best_neuron` at post: float64 [model, target], in [1/2, 1].

    On the first ``samples`` of the host's examples, at most `AUROC_ON`. NaN unless targets are 0 or 1, and
    for a target that is always or never 1 there; 1/2 where no neuron says anything.
    """
    samples = min(samples, AUROC_ON)
    neuron = best_neuron(moments, "post").cpu()
    found = torch.full(neuron.shape, torch.nan, dtype=torch.float64)
    if not host.binary:
        return found
    for model, neurons in enumerate(neuron.tolist()):
        post, active = _post_and_active(host[model : model + 1], samples)
        found[model] = torch.from_numpy(areas(post, active, neurons))
    return found


def _post_and_active(host: Host, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """post [hidden, sample] of one model, and whether each target is 1, bool [target, sample]."""
    posts, actives = [], []
    for examples in host.batches(0, samples, CHUNK):
        layer = hidden(host.bottleneck, host.parameters, examples.x)
        posts.append(layer.post[0].detach().cpu())
        actives.append((examples.t[0] > 0).cpu())
    return torch.cat(posts, dim=1).numpy(), torch.cat(actives, dim=1).numpy()


def areas(post: np.ndarray, active: np.ndarray, neurons: Sequence[int]) -> np.ndarray:
    """max(A, 1 - A) of each target and a neuron of its own, -1 for none: float64 [target], of ``post`` [hidden, sample]
    and ``active`` [target, sample]; NaN for a target that is always or never active. Each neuron is sorted once."""
    ordered: dict[int, np.ndarray] = {}
    areas = np.full(len(neurons), np.nan)
    for target, k in enumerate(neurons):
        ones = np.count_nonzero(active[target])
        zeros = active.shape[1] - ones
        if not ones or not zeros:
            continue
        if k < 0:
            areas[target] = 0.5
            continue
        if k not in ordered:
            ordered[k] = np.sort(post[k])
        own = np.sort(post[k, active[target]])
        # Twice the rank of each active example among all, a tie half below: then less the pairs of active ones alone.
        among_all = np.searchsorted(ordered[k], own, "left") + np.searchsorted(ordered[k], own, "right")
        area = (among_all.sum(dtype=np.int64) - ones**2) / (2 * ones * zeros)
        areas[target] = max(area, 1 - area)
    return areas
