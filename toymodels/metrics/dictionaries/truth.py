"""The truth that dictionaries are held against: activations, which features are active in them, and their directions.

The true direction of feature i at a tap is what it does there: `toymodels.hosts.Host.directions`.

A latent is never negative, so to a dictionary a signed feature is two: the directions of e_i and of -e_i, active where
x_i > 0 and where x_i < 0. The n positive sides stand first, then the n negative ones, and each counts as a feature. The
two may be opposite, and a latent that points along one is no detector of the other: there (``signed``) max(0, cos)
takes the place of |cos|.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host


@undisturbed
def activations(host: Host, tap: str, first: int, samples: int) -> tuple[Tensor, Tensor]:
    """What a dictionary is trained and scored on: ``tap`` one of `moment_table.TAPS`, ``first`` a multiple of 4.

    Returns the tap ``[model, hidden, sample]`` on the host's examples, and which features are active in them, bool
    ``[model, feature, sample]``; of signed features where x_i > 0 and then where x_i < 0, ``[model, 2 x feature,
    sample]``.
    """
    examples = host.examples(first, samples)
    x = examples.x
    active = torch.cat([x > 0, x < 0], 1) if host.signed else examples.active
    return getattr(host.taps(x), tap), active
