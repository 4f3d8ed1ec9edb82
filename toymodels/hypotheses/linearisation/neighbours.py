"""Neighbours: examples that differ from others in a stated way.

    values   the same features active, each with a new value of its law (binary values have none)
    off      one active feature, any with equal probability, switched off
    on       one inactive feature, likewise, switched on at its mean active value, beside what is active
    first    the same where nothing is active
    other    another example of the data

All [model, feature, batch]. An example that has no such neighbour (nothing active to switch off) stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.features import Features
from toymodels.random import Domain, uniforms
from toymodels.training.experiment import Experiment, sampler

VALUES, OFF, ON = 1, 2, 3
"""Steps of the evaluation stream, whose step 0 is the data."""
KINDS = ("values", "off", "on", "first", "other")


def neighbours(
    experiments: Sequence[Experiment], pairs: int, first: int = 0, device: str | torch.device = "cpu"
) -> tuple[Tensor, dict[str, Tensor]]:
    """Evaluation examples ``first`` to ``first + pairs - 1``, and neighbours of theirs by `KINDS`, on the device;
    ``values`` is left out where an active feature has but one value. ``other`` are the ``pairs`` examples that follow.

    Raises ``TypeError`` unless x is drawn from `Features`: other data have no law of values.
    """
    features = experiments[0].features
    if not isinstance(features, Features):
        raise TypeError(f"neighbours: expected data drawn from Features, got {type(features).__name__}")
    seeds = np.array([e.seed for e in experiments], np.int64)
    both = sampler(experiments, device).evaluation(first, 2 * pairs)
    x, other = both[:, :, :pairs], both[:, :, pairs:]
    empty = (x == 0).all(1, keepdim=True)
    on = switched(x, _drawn(seeds, x, ON), on=True, value=features.values.mean)
    found = {
        "values": other_values(features, x, _drawn(seeds, x, VALUES)),
        "off": switched(x, _drawn(seeds, x, OFF), on=False),
        "on": torch.where(empty, x, on),
        "first": torch.where(empty, on, x),
        "other": other,
    }
    if features.values.binary and not features.signed:
        del found["values"]
    return x, found


def other_values(features: Features, x: Tensor, u: Tensor) -> Tensor:
    """x with the value of every active feature drawn anew from uniforms ``u`` in (0, 1) of its shape."""
    v = 2 * u - 1 if features.signed else u
    if features.values.binary:
        v = torch.where(v >= 0, 1.0, -1.0)
    return torch.where(x != 0, features.values.from_uniform(v.to(x)), 0.0)


def switched(x: Tensor, u: Tensor, *, on: bool, value: float = 0.0) -> Tensor:
    """x with one feature of each example, the inactive (``on``) or active one of largest ``u``, set to ``value``."""
    eligible = (x == 0) if on else (x != 0)
    chosen = torch.where(eligible, u, -1.0).argmax(1, keepdim=True)
    there = torch.zeros_like(eligible).scatter(1, chosen, True) & eligible
    return torch.where(there, value if on else 0.0, x)


def differing(at: Tensor, x: Tensor) -> Tensor:
    """How many features are active in one of two examples and not in the other: int64 [model, batch]."""
    return ((at != 0) != (x != 0)).sum(1)


def _drawn(seeds: np.ndarray, x: Tensor, step: int) -> Tensor:
    return torch.from_numpy(uniforms(seeds, x.shape[1], x.shape[2], step, Domain.EVALUATION)).to(x.device)
