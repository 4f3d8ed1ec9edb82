"""Fidelity: how wrong a layer frozen at x0 is at x, y~(x; x0) against y(x), read-outs before ``out``.

    lost       E |y~(x; x0) - y(x)|^2 / sum_i Var y_i                    share of the read-out's variance over the data
    explained  1 - E |y~(x; x0) - y(x)|^2 / E |y(x) - y(x0)|^2           share of the change of the read-out
    nearer     P(|y~(x; x0) - y(x)| < |y(x0) - y(x)|)                    how often that is better than to stay

The expectations are over pairs in which x differs from x0. Frozen and live agree at x0, so *explained* says what the
frozen map knows of the way from x0 to x: 1 all of it, 0 no more than that y stays at y(x0), below 0 less than that.
*Lost* has a scale of its own: saying the mean of y loses 1, saying y(x0) of an independent x loses 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, forward
from toymodels.hypotheses.linearisation.freezing import Frozen, frozen

FEWEST = 20
"""Pairs at a distance, below which nothing is said of it."""


@dataclass(frozen=True)
class PairErrors:
    """Squared errors of pairs of examples, float64 [model, pair] each; NaN of a pair that does not differ."""

    error: Tensor
    """|y~(x; x0) - y(x)|^2"""
    change: Tensor
    """|y(x) - y(x0)|^2, the error of a read-out that stays"""

    def lost(self, variance: Tensor) -> Tensor:
        """Share of ``variance``, the read-out's [model], that the frozen map loses: float64 [model]."""
        return self.error.nanmean(1) / variance

    def explained(self) -> Tensor:
        """Share of the change of the read-out that the frozen map explains: float64 [model]."""
        return 1 - self.error.nansum(1) / self.change.nansum(1)

    def nearer(self) -> Tensor:
        """Share of the pairs in which the frozen map is nearer than a read-out that stays: float64 [model]."""
        return torch.where(self.error.isnan(), torch.nan, (self.error < self.change).double()).nanmean(1)


def pair_errors(bottleneck: Bottleneck, parameters: Parameters, at: Tensor, x: Tensor, what: Frozen) -> PairErrors:
    """The errors of ``what`` frozen at ``at``, of pairs with x; both [model, feature, pair]."""
    here, there = (forward(bottleneck, parameters, each.to(parameters.W_in)).readout for each in (x, at))
    guess = frozen(bottleneck, parameters, at, x, what).readout
    differ = (x != at).any(1)

    def squared(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(differ, (a - b).double().square().sum(1), torch.nan)

    return PairErrors(squared(guess, here), squared(here, there))


def readout_variance(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Tensor:
    """sum_i Var y_i over the examples x [model, feature, batch]: float64 [model]."""
    y = forward(bottleneck, parameters, x.to(parameters.W_in)).readout.double()
    return y.var(2, correction=0).sum(1)


def moved(bottleneck: Bottleneck, parameters: Parameters, at: Tensor, x: Tensor) -> Tensor:
    """|z - z0| over the root mean square of |z - E z| over the examples ``at``: float64 [model, pair]."""
    here, there = (forward(bottleneck, parameters, each.to(parameters.W_in)).pre.double() for each in (x, at))
    return (here - there).norm(dim=1) / there.var(2, correction=0).sum(1).sqrt()[:, None]


def by_distance(values: Tensor, distance: Tensor, edges: Tensor) -> Tensor:
    """The mean of ``values`` [model, pair] at distances in [edge, next edge): float64 [model, bin], on the CPU, where
    it is rounded the same every time.

    NaN where fewer than `FEWEST` pairs are; pairs without a value are left out.
    """
    place = torch.bucketize(distance, edges.to(distance), right=True) - 1
    counted = values.isfinite() & (place >= 0) & (place < len(edges) - 1)
    place, added = torch.where(counted, place, 0).cpu(), torch.where(counted, values, 0.0).double().cpu()
    sums, counts = torch.zeros(2, len(values), len(edges) - 1, dtype=torch.float64)
    sums.scatter_add_(1, place, added)
    counts.scatter_add_(1, place, counted.double().cpu())
    return torch.where(counts >= FEWEST, sums / counts.clamp(min=1), torch.nan)
