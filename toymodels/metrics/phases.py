"""Phases: what becomes of a second feature where two features share one neuron, by the loss of fixed candidates.

Two features of values U(0,1), each active with probability p, of importances 1 and r; one linear neuron,
y = ReLU(W^T W x + b). Three candidates that are worked out by hand, after Elhage et al. 2022, *Toy Models of
Superposition*, section 3:

    dropped     W = (1, 0), b = (0, p/2)    r V        the second feature is said by its mean
    dedicated   W = (0, 1), b = (p/2, 0)    V          the first one is
    superposed  W = (1, -1), b = (0, 0)     (1 + r) p^2 / 6

with V = p/3 - p^2/4, the variance of a feature. The best lengths and biases cost less than any of these.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor

from toymodels.metrics.geometry import interference, norms


class Phase(StrEnum):
    """What a model does with its second feature."""

    DROPPED = "not represented"
    DEDICATED = "a dimension of its own"
    SUPERPOSED = "in superposition"


def candidate_losses(density: Tensor, ratio: Tensor) -> dict[Phase, Tensor]:
    """The loss of each candidate at densities p and relative importances r, of the shape that these have together."""
    variance = density / 3 - density**2 / 4
    return {
        Phase.DROPPED: ratio * variance,
        Phase.DEDICATED: variance * torch.ones_like(ratio),
        Phase.SUPERPOSED: (1 + ratio) * density**2 / 6,
    }


def boundary(ratio: Tensor) -> Tensor:
    """The density below which superposition is the best candidate: 4 r / (2 + 5 r) for r <= 1, 4 / (5 + 2 r) above."""
    return torch.where(ratio <= 1, 4 * ratio / (2 + 5 * ratio), 4 / (5 + 2 * ratio))


def second_feature(W: Tensor) -> tuple[Tensor, Tensor]:
    """Of W ``[model, 1, 2]`` the length of the second column, and how far it overlaps with the first, both [model].

    The overlap is (W_2/|W_2| . W_1)^2: 0 in a dimension of its own, 1 in superposition with a first one of length 1.
    """
    return norms(W)[:, 1], interference(W)[:, 1]
