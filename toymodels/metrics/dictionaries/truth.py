"""The truth that dictionaries are held against: activations, which features are active in them, and their directions.

The true direction of feature i at a tap is what it does there: `toymodels.hosts.Host.directions`.

A latent is never negative, so to a dictionary a signed feature is two: the directions of e_i and of -e_i, active where
x_i > 0 and where x_i < 0. The n positive sides stand first, then the n negative ones, and each counts as a feature. The
two may be opposite, and a latent that points along one is no detector of the other: there (``signed``) max(0, cos)
takes the place of |cos|.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from toymodels.metrics.moments import Array
from toymodels.responses import mean_active_values
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host
    from toymodels.hosts.models import Models


CHUNK = 2**15
"""samples whose other taps are held at once"""


@undisturbed
def activations(host: Host, tap: str, first: int, samples: int) -> tuple[Tensor, Tensor]:
    """What a dictionary is trained and scored on: ``tap`` one of `moment_table.TAPS`, ``first`` a multiple of 4.

    Returns the tap ``[model, hidden, sample]`` on the host's examples, and which features are active in them, bool
    ``[model, feature, sample]``; of signed features where x_i > 0 and then where x_i < 0, ``[model, 2 x feature,
    sample]``.
    """
    values: list[Tensor] = []
    active: list[Tensor] = []
    for each in host.batches(first, samples, CHUNK):
        x = each.x
        active.append(torch.cat([x > 0, x < 0], 1) if host.signed else each.active)
        values.append(getattr(host.taps(x), tap))
    return (values[0], active[0]) if len(values) == 1 else (torch.cat(values, 2), torch.cat(active, 2))


@undisturbed
def beside_parents(host: Models, tap: str, parents: Array | Sequence[int]) -> Tensor:
    """What each feature does to a tap beside its parent, and that one's parent and so on: [model, hidden, feature].

        tap(e_i + sum of e_j over the parents j above i) - tap(the same without e_i)

    ``parents [feature]``, -1 for a feature that has none, as `toymodels.firing.Tree.parents` says; of such a feature
    this is `toymodels.hosts.Host.directions`. Every feature is at its mean active value, and none is signed.
    """
    parents = np.asarray(parents)
    n = len(parents)
    above = np.zeros((n, n), dtype=np.float32)  # [feature, the feature it is taken beside]
    for feature, parent in enumerate(parents):
        while parent >= 0:
            above[parent, feature] = 1.0
            parent = parents[parent]
    without = torch.from_numpy(above).to(host.parameters.W_in)
    values = mean_active_values(host.experiments, without)[:, :, None]
    one, other = (getattr(host.taps(x * values), tap) for x in (without + torch.eye(n).to(without), without))
    return one - other
