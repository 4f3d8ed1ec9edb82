"""Freezing: parts of a hidden layer held at what they are for another example x0.

    mask    a = s(z0) z                                 s(z0) = softmax(z0) for SoLU, else act(z0) / z0
    mean    h = gain (a - mean a0) r(a) + bias
    scale   h = gain (a - mean a) r(a0) + bias          r = (var + eps)^-1/2

At x = x0 each is exact, alone and with the others. Mask and scale together leave a read-out affine in x: the mean over
neurons is linear already and need not be frozen. Freezing it as well is not even well defined up to what LayerNorm
cannot see: with a linear activation 1 v^T added to W_in changes no output, and does change this one.
"""

from __future__ import annotations

from enum import Flag, auto

from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, Taps, hidden
from toymodels.surgery import FrozenMask, FrozenNorm, Intervention, norm_statistics, operate


class Frozen(Flag):
    """Parts of a layer that depend on x; any of them together, ``Frozen.MASK | Frozen.SCALE``."""

    MASK = auto()
    MEAN = auto()
    SCALE = auto()


NORM = Frozen.MEAN | Frozen.SCALE
OF_ACTIVATION = {"mask": Frozen.MASK}
OF_NORM = {
    "mean": Frozen.MEAN,
    "scale": Frozen.SCALE,
    "mean + scale": NORM,
    "mask + scale": Frozen.MASK | Frozen.SCALE,
    "everything": Frozen.MASK | NORM,
}
"""What can be frozen where there is a LayerNorm, beside `OF_ACTIVATION`."""


def freezes(bottleneck: Bottleneck) -> dict[str, Frozen]:
    """What can be frozen in a layer, by name."""
    return OF_ACTIVATION if bottleneck.layer_norm is None else OF_ACTIVATION | OF_NORM


def affine_freeze(bottleneck: Bottleneck) -> str:
    """The name of the least that must be frozen for the read-out to be affine in x."""
    return "mask" if bottleneck.layer_norm is None else "mask + scale"


def frozen(bottleneck: Bottleneck, parameters: Parameters, at: Tensor, x: Tensor, what: Frozen) -> Taps:
    """The forward pass on x [model, feature, batch] with ``what`` held as for ``at`` [model, feature, 1 or batch].

    Raises ``ValueError`` where LayerNorm's parts are to be frozen and there is none, and for an activation that has no
    mask.
    """
    there = hidden(bottleneck, parameters, at.to(parameters.W_in))
    held: list[Intervention] = [FrozenMask(there.pre)] if Frozen.MASK in what else []
    if what & NORM:
        mean, scale = norm_statistics(bottleneck, parameters, there.mid)
        if Frozen.SCALE not in what:
            scale = norm_statistics(bottleneck, parameters, operate(bottleneck, parameters, x, *held).mid)[1]
        held.append(FrozenNorm(scale, mean if Frozen.MEAN in what else None))
    return operate(bottleneck, parameters, x, *held)
