"""Levels: masks and LayerNorm scales in as few values as the loss allows, so that what is frozen can be counted.

ReLU's mask has two values. GeLU's, SoLU's and a LayerNorm's scale are real numbers, of which an example would carry
infinitely many bits; but not all of them matter. Of every neuron the range of its mask s over the data is cut into L
equal bins, and s is replaced by the bin's least-squares slope of a on z,

    s -> E[a z | bin] / E[z^2 | bin],        r -> E[v r | bin] / E[v | bin],   bins of log r,   v = var a

likewise LayerNorm's scale r. L is the smallest of `COUNTS` at which the model's loss is at most 1 % (`RISE`) above its
own, of its own loss, on other samples than the bins are fitted to. It says how many bits *this* quantiser needs: an
upper bound of what any would. ReLU gets L = 2 and loses nothing; where L = 1 the layer is linear with nothing frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.activations import Activation
from toymodels.bottleneck import (
    Bottleneck,
    Hidden,
    Parameters,
    Taps,
    live_norm,
    mid_of,
    normed,
    preactivation,
    read_out,
)
from toymodels.layer_norm import centred
from toymodels.surgery import FrozenMask, norm_statistics

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
RISE = 0.01
"""Of the loss, as a share of itself, that levels may cost."""


@dataclass(frozen=True)
class Levels:
    """A value a bin, each row of u [model, row, batch] cut into ``count`` [model] equal bins from ``low`` on."""

    low: Tensor
    """[model, row, 1]"""
    width: Tensor
    """of all bins together, [model, row, 1]"""
    count: Tensor
    """int64 [model]"""
    table: Tensor
    """[model, row, the largest count]"""

    def codes(self, u: Tensor) -> Tensor:
        """The bin of every entry of u, int64 of its shape; the outer bins have all that lies beyond."""
        count = self.count[:, None, None]
        return ((u - self.low) / self.width * count).long().clamp(min=0).minimum(count - 1)

    def values(self, u: Tensor) -> Tensor:
        """What every entry of u is replaced by."""
        return self.table.gather(2, self.codes(u))


@dataclass(frozen=True)
class Quantised:
    """How a layer runs in levels, those of its mask, of its LayerNorm's scale, or both; None for what stays as it is.

    ``mask_rise`` and ``scale_rise``, float64 [model]: what each costs alone, as a share of the loss. At most `RISE`,
    unless the most levels there are do not suffice. ``binary_rise``: what two levels a neuron cost.
    """

    mask: Levels
    mask_rise: Tensor
    scale: Levels | None
    scale_rise: Tensor | None
    binary_rise: Tensor

    def codes(self, bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """What must be said of x for its map: the bin of every neuron, int64 [model, hidden, batch], and of the scale,
        [model, 1, batch]."""
        pre = preactivation(parameters, x.to(parameters.W_in))
        mask = self.mask.codes(mask_of(bottleneck.activation, pre))
        if self.scale is None:
            return mask, None
        return mask, self.scale.codes(log_scale(bottleneck, parameters, mid_of(bottleneck, pre)))


def mask_of(activation: Activation, pre: Tensor) -> Tensor:
    """s(z) with act(z) = s(z) z, of the shape of ``pre`` [model, hidden, batch]."""
    return FrozenMask(pre).on_activation(activation)(torch.ones_like(pre), dim=1)


def log_scale(bottleneck: Bottleneck, parameters: Parameters, mid: Tensor) -> Tensor:
    """log r of LayerNorm at ``mid``: [model, 1, batch]."""
    return norm_statistics(bottleneck, parameters, mid)[1].log()


def run_in_levels(
    bottleneck: Bottleneck, parameters: Parameters, x: Tensor, mask: Levels | None, scale: Levels | None
) -> Taps:
    """The forward pass with mask and scale in levels; a scale's bin is that of the layer as it is."""
    pre = preactivation(parameters, x.to(parameters.W_in))
    mid = true = mid_of(bottleneck, pre)
    if mask is not None:
        mid = mask.values(mask_of(bottleneck.activation, pre)) * pre
    norm = live_norm(bottleneck, parameters)
    if scale is not None:
        held = scale.values(log_scale(bottleneck, parameters, true))
        return read_out(bottleneck, parameters, Hidden(pre, mid, normed(parameters, mid, lambda a: centred(a) * held)))
    return read_out(bottleneck, parameters, Hidden(pre, mid, normed(parameters, mid, norm)))


def fewest_levels(
    bottleneck: Bottleneck, parameters: Parameters, fit: Tensor, loss: Callable[[Callable[[Tensor], Taps]], Tensor]
) -> Quantised:
    """The fewest levels of a batch of models of one architecture: fitted on ``fit`` [model, feature, batch].

    ``loss`` of a forward pass, a function of x, is each model's on samples of its own: float64 [model].
    """
    own = loss(lambda x: run_in_levels(bottleneck, parameters, x, None, None))
    pre = preactivation(parameters, fit.to(parameters.W_in))
    mid, s = mid_of(bottleneck, pre), mask_of(bottleneck.activation, pre)

    def rise(mask: Levels | None, scale: Levels | None) -> Tensor:
        return loss(lambda x: run_in_levels(bottleneck, parameters, x, mask, scale)) / own - 1

    def in_bins(count: Tensor) -> Levels:
        return fitted(s, pre.square(), count)

    one = torch.full((len(fit),), COUNTS[0], device=s.device)
    mask, mask_rise = _fewest(one, in_bins, lambda levels: rise(levels, None))
    binary_rise = rise(in_bins(torch.full((len(fit),), 2, device=s.device)), None)
    if bottleneck.layer_norm is None:
        return Quantised(mask, mask_rise, None, None, binary_rise)
    r, power = log_scale(bottleneck, parameters, mid), centred(mid).square().mean(1, keepdim=True)
    scale, scale_rise = _fewest(
        one, lambda count: fitted(r, power, count, values=r.exp()), lambda levels: rise(None, levels)
    )
    return Quantised(mask, mask_rise, scale, scale_rise, binary_rise)


def fitted(u: Tensor, weights: Tensor, count: Tensor, values: Tensor | None = None) -> Levels:
    """Levels of u [model, row, batch] in ``count`` [model] bins: the mean in each of ``values``, or of u itself, by
    ``weights`` of u's shape; where a bin has no weight, u at its middle."""
    low, high = u.amin(2, keepdim=True), u.amax(2, keepdim=True)
    width = torch.where(high > low, high - low, 1.0)
    most = int(count.max())
    middle = low + (torch.arange(most, device=u.device) + 0.5) * width / count[:, None, None]
    codes = Levels(low, width, count, middle).codes(u)
    held = u if values is None else values
    # Added up on the CPU, one after the other: a GPU would do it in another order every time.
    codes, on_cpu = codes.cpu(), torch.zeros(2, *middle.shape, dtype=torch.float64)
    for bins, added in zip(on_cpu, (weights * held, weights), strict=True):
        bins.scatter_add_(2, codes, added.cpu().double())
    sums, total = on_cpu.to(u.device)
    centre = middle if values is None else middle.exp()
    table = torch.where(total > 0, (sums / total.where(total > 0, 1.0)).to(u.dtype), centre)
    return Levels(low, width, count, table)


def _fewest(least: Tensor, fit: Callable[[Tensor], Levels], rise: Callable[[Levels], Tensor]) -> tuple[Levels, Tensor]:
    """Of each model the levels of the smallest of `COUNTS`, the ``least`` [model] to begin with, at which the ``rise``
    is at most `RISE`, or of the largest; and the rise there."""
    levels = fit(least)
    risen = rise(levels)
    for count in COUNTS[1:]:
        enough = risen <= RISE
        if enough.all():
            break
        levels = fit(torch.where(enough, levels.count, count))
        risen = rise(levels)
    return levels, risen
