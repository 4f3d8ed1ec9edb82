"""Directions: what a feature does to a tap, and how an affine read-out of the tap sees the feature.

    Delta_i = tap(e_i) - tap(0)                                     e_i the feature alone, at its mean active value
    w_i, b_i = argmin E (v_i - w.a - b)^2 + penalty s |w|^2         the ridge read-out (`toymodels.metrics.probe`)

The first is what writes the feature, the second what reads it, and features in superposition are read elsewhere than
they are written: w_i turns away from what the others do. v_i is x_i; of signed features, which are two to a dictionary,
max(0, x_i) and then max(0, -x_i).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hosts.models import Models
from toymodels.hosts.streaming import rows_of
from toymodels.metrics.gauge import up_to_common
from toymodels.metrics.moments import Moments, together
from toymodels.metrics.probe import chosen, ridge
from toymodels.surroundings import torch_threads, undisturbed

SAMPLES = 2**16
"""The first of those that measures are taken on. Read-outs are fitted on a half, chosen on a quarter, and judged on the
last"""
CHUNK = 2048
"""of them at once"""


@dataclass(frozen=True)
class Directions:
    """The directions of a host's features at one tap, float32, a feature a row, as in a dictionary's decoder.

    Of signed features there are twice as many rows, the positive sides first.
    """

    tap: str
    delta: Tensor
    """Delta [feature, hidden], in the units of the activations"""
    ridge: Tensor
    """w [feature, hidden], of the penalty that is best on other samples than w was fitted on; 0 of a feature that was
    never seen"""
    ridge_bias: Tensor
    """b [feature]"""
    ridge_r2: Tensor
    """R^2 of w.a + b [feature], on samples of neither; NaN of a feature that was never seen"""
    up_to_common: bool
    """whether a LayerNorm follows, so that Delta and Delta + c 1 are the same to all that comes after"""

    @property
    def gauged(self) -> Tensor:
        """Delta [feature, hidden] about its mean over neurons where it is known `up_to_common` part only: the one that
        LayerNorm passes on. Delta itself elsewhere."""
        return self.delta - self.delta.mean(1, keepdim=True) if self.up_to_common else self.delta

    def __len__(self) -> int:
        return len(self.delta)


@undisturbed
def directions_of(host: Models, tap: str) -> Directions:
    """The directions of a host of one model; read-outs are fitted on the first `SAMPLES` that measures are taken on.

    On one thread, so that they are the same bytes, and a file of them, whatever the threads.
    """
    with torch_threads(1):
        return _directions(host, tap)


def _directions(host: Models, tap: str) -> Directions:
    batches = host.batches(0, SAMPLES, CHUNK)
    moments = Moments.of_batches((_values(host, each.x), {tap: getattr(host.taps(each.x), tap)}) for each in batches)
    *fitted, held_out, judged = moments.folds
    read_out = chosen(ridge(together(fitted), tap), held_out)
    variance = judged.target_variance
    r2 = torch.where(variance > 0, 1 - read_out.squared_error(judged) / variance, torch.nan)
    return Directions(
        tap=tap,
        delta=rows_of(host.directions(tap)),
        ridge=rows_of(read_out.weights),
        ridge_bias=read_out.bias[0].float(),
        ridge_r2=r2[0].float(),
        up_to_common=up_to_common(host.bottleneck, tap),
    )


def _values(host: Models, x: Tensor) -> Tensor:
    """v [model, feature, sample] of x; see the module."""
    return torch.cat([x.clamp(min=0), (-x).clamp(min=0)], 1) if host.signed else x
