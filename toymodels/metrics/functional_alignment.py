"""Functional alignment: does one neuron stand for a feature over the data, and would it in any other basis?

    a_i = max_k R^2 of the best affine read-out of t_i from post_k = max_k corr(t_i, post_k)^2
    null of i: the same of post(Q z),   z = W_in x + b_in (of a decoder W_in E x + b_in),   Q Haar-random

The measure does not change with the order, gain or bias of neurons, nor with what LayerNorm deletes, mid -> mid +
c(x) 1. That a response to one feature alone is sharp is no evidence: SoLU sends whatever it gets to few neurons, and
against such responses the null has no power. What counts is that over all data a neuron follows *this* feature.

The null asks what a model would show whose hidden basis means nothing. It rotates all of z, *before* the activation,
because activations sharpen: directions at random through SoLU look aligned, and rotating what comes out of SoLU would
call them so. Where a LayerNorm follows, the vector 1 is a direction apart, since LayerNorm takes the mean over neurons
away: Q is random among the rotations that leave 1 where it is. Every feature has a null of its own, on the same
samples: a long column of W_in looks more aligned than a short one, and a null pooled over features is no feature's. Of
a model whose W_in (and b_in) could as well have been any rotation of it, percentiles are uniform.

Neurons of different blocks, or of different experts, could not stand for each other, as different things reach them:
there Q is random among the rotations of each block or expert by itself. A
gate is part of what its neuron reads and is turned by the same Q; what a router chooses is not touched.

That a basis shows itself as privileged against rotations of it is of Elhage, Lasenby, Olah 2023, *Privileged Bases in
the Transformer Residual Stream*; that neurons are judged by known features, of Jermyn, Schiefer, Hubinger 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.rotations import rotations_of
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

DRAWS = 200
"""rotations: above the 99th percentile is then what at most one of them reaches"""
ROUNDING = 1e-6
"""The share of a_i by which a draw must be smaller to be below it: less is rounding, as where a rotation changes
nothing"""
NULL_ON = 2**12
"""samples, at most, on which a null and what is compared with it are measured: all rotations on more would take longer
than training the model"""


@dataclass(frozen=True)
class FunctionalNull:
    """Each target's alignment beside its own null, on the same samples."""

    own: Tensor
    """a_i on the null's samples: float64 [model, target], NaN where the target does not vary"""
    draws: Tensor
    """of rotated models: float64 [model, target, draw], sorted, NaN where ``own`` is"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", self.draws.sort(dim=-1).values)

    @property
    def percentile(self) -> Tensor:
        """Percent of draws below a_i by more than rounding: float64 [model, target], 0 to 100; NaN where a_i is
        undefined."""
        below = 100 * (self.draws < (1 - ROUNDING) * self.own[:, :, None]).double().mean(-1)
        return torch.where(self.own.isnan(), torch.nan, below)

    def quantile(self, percent: float) -> Tensor:
        """The smallest draw with at least ``percent`` percent of draws at or below it: float64 [model, target].

        NaN where a_i is undefined. ``percent`` is above 0 and at most 100: raises ``ValueError`` of others.
        """
        if not 0 < percent <= 100:
            raise ValueError(f"percent: expected a number above 0 and at most 100, got {percent!r}")
        draws = self.draws.shape[-1]
        at_or_below = 100 * torch.arange(1, draws + 1, dtype=torch.float64) / draws
        return self.draws[..., int((at_or_below < percent).sum())]


@undisturbed
def functional_null(host: Host, samples: int, *, first: int = 0, draws: int = DRAWS, seed: int = 0) -> FunctionalNull:
    """a_i of a host's layers at `post`, with the null of each feature.

    On the ``samples`` examples from ``first`` on, a multiple of 64, at most `NULL_ON`. The ``draws`` rotations are
    those of ``seed``, the same for every model; a_i itself is of the identity among them, so that what is compared was
    computed alike.
    """
    b = host.bottleneck
    rotations = torch.cat([torch.eye(b.hidden)[None], rotations_of(b, draws, seed)])
    found = host.rotated_r2(rotations, first, min(samples, NULL_ON)).cpu()
    return FunctionalNull(own=found[:, 0], draws=found[:, 1:].transpose(1, 2))
