"""Scales: two constants at which LayerNorm can be held.

What only works through LayerNorm's rescaling is lost when its scale is held constant (Elhage et al. 2022, *Softmax
Linear Units*, ask this of features smuggled through in small activations).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.surgery.interventions import FrozenNorm, Intervention, per_model
from toymodels.surgery.stretches import chunks
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host


@undisturbed
def geometric_mean_scale(
    host: Host, samples: int = 8192, first: int = 0, interventions: Sequence[Intervention] = ()
) -> Tensor:
    """exp(E log scale) of LayerNorm over a host's examples from sample ``first`` (a multiple of 4): float64 [model].

    Only over non-empty inputs (x != 0 somewhere, as drawn): the rest would rule the mean of sparse data. A scale that
    is 0 or not finite is left out; NaN when nothing is left. Raises ``ValueError`` where there is no LayerNorm.
    """
    total = count = torch.zeros((), dtype=torch.float64)
    for examples in chunks(host, samples, first):
        mid = host.taps(examples.x, *interventions).mid
        scale = host.scale(mid)[1][:, 0].double()
        counted = (examples.x != 0).any(1) & (scale > 0) & scale.isfinite()
        total = total + torch.where(counted, scale, 1.0).log().sum(1)
        count = count + counted.sum(1)
    return torch.exp(total / count)


@undisturbed
def loss_optimal_scale(
    host: Host, samples: int = 4096, first: int = 0, interventions: Sequence[Intervention] = ()
) -> Tensor:
    """The constant LayerNorm scale c, its mean live, that minimises sum_i I_i E loss(t_i, y_i): float64 [model].

    The read-out is affine in c, so a squared loss is a quadratic in c for a linear output and piecewise so, and not
    convex, for a ReLU: searched on a log grid of factors 2^-5 to 2^5 about the geometric mean, then by golden section
    between the neighbours of the best, to a relative 1e-6 or the precision of the parameters. t is of the data as
    drawn.
    """
    centre = geometric_mean_scale(host, samples, first, interventions)
    output, importance = host.bottleneck.output, host.importance.to(centre.device)

    def losses(exponents: Tensor) -> Tensor:
        """The loss at c = centre 2^exponent, [candidate, model]."""
        total = torch.zeros_like(exponents)
        for examples in chunks(host, samples, first):
            x, t = examples.x, examples.t
            # From the read-outs at c = centre and c = 0. The second is W_out bias + b_out, so one example gives it.
            constant = host.taps(x[:, :, :1], *interventions, FrozenNorm(0.0)).readout
            slope = host.taps(x, *interventions, FrozenNorm(centre)).readout - constant
            for row, factor in zip(total, torch.exp2(exponents), strict=True):
                y = output(torch.addcmul(constant, slope, per_model("c", factor, x)), dim=1)
                row += (host.cost(t, y).sum(2).double() * importance).sum(1)
        return total / samples

    grid = torch.linspace(-5, 5, 41, dtype=torch.float64, device=centre.device)[:, None].expand(41, len(centre))
    best_loss, k = losses(grid).min(0)
    best = grid[k, 0]
    low, high = grid[(k - 1).clamp(min=0), 0], grid[(k + 1).clamp(max=40), 0]
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    left_loss, right_loss = losses(torch.stack([left, right]))
    for _ in range(28):
        down = left_loss < right_loss
        low, high = torch.where(down, low, left), torch.where(down, right, high)
        kept, kept_loss = torch.where(down, left, right), torch.where(down, left_loss, right_loss)
        # Not convex: what golden section ends at may be worse than what it passed.
        best, best_loss = torch.where(kept_loss < best_loss, kept, best), torch.minimum(kept_loss, best_loss)
        fresh = torch.where(down, high - golden * (high - low), low + golden * (high - low))
        fresh_loss = losses(fresh[None])[0]
        left, right = torch.where(down, fresh, kept), torch.where(down, kept, fresh)
        left_loss, right_loss = torch.where(down, fresh_loss, kept_loss), torch.where(down, kept_loss, fresh_loss)
    return centre * torch.exp2(best)
