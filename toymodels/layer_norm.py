"""LayerNorm: the hidden layer rescaled to mean 0 and variance 1, example by example.

LN(a)_k = gain_k (a_k - mean(a)) / sqrt(var(a) + eps) + bias_k, var the mean square over the m neurons (Ba, Kiros,
Hinton 2016). It is an axis of its own, apart from the activation. eps acts relative to var(a), which SoLU
shrinks about m^2 fold, so it is never a detail here: see `Matched`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.linalg import helmert
from torch import Tensor

from toymodels.checks import Flag, Number, NumberOr, setting, settle

MATCHED_FRACTION = 0.03
"""eps / mean var(mid) of a matched LayerNorm: about what 1e-5 is to SoLU at initialisation with 16 neurons."""


@dataclass(frozen=True)
class Matched:
    """eps = `MATCHED_FRACTION` of the model's own mean var(mid), measured at initialisation on its own data.

    So that eps weighs the same on every activation, where a fixed number weighs m^2 times more on SoLU than on GeLU.
    """

    name = "matched"


EPS_CHECK = NumberOr(Number(least=0, instead="tm.Matched()"), Matched())


@dataclass(frozen=True)
class LayerNorm:
    """``eps`` >= 0 (or `Matched`), with a trained gain and bias if ``affine``."""

    eps: float | Matched = field(
        default=1e-5,
        metadata=setting(EPS_CHECK, "what is added to the variance; matched: 3 % of the model's own at the start"),
    )
    affine: bool = field(default=True, metadata=setting(Flag(), "whether a gain and a bias are trained"))

    def __post_init__(self) -> None:
        settle(self)


def centred(a: Tensor, dim: int = 1) -> Tensor:
    """a - mean(a) along ``dim``, about the first entry: exactly 0 where all are equal."""
    a = a - a.narrow(dim, 0, 1)
    return a - a.mean(dim, keepdim=True)


def median(a: Tensor, dim: int = 1) -> Tensor:
    """The median along ``dim``, which is kept with size 1: of an even number the mean of the two in the middle."""
    low, high = _middle(a, dim)
    return low + (high - low) / 2


def apart_from_common(values: Tensor) -> Tensor:
    """``values [model, hidden, ...]`` less what is common to all neurons, in coordinates that have nothing of it:
    [model, hidden - 1, ...].

    These are of an orthonormal basis (Helmert's) of what has mean 0 over neurons, so lengths and angles are those of
    the `centred` values, and random directions are as random there.
    """
    basis = torch.from_numpy(helmert(values.shape[1])).to(values.device)
    return (basis @ values.double().flatten(2)).to(values.dtype).unflatten(2, values.shape[2:])


def about_median(a: Tensor, dim: int = 1) -> Tensor:
    """a - median(a) along ``dim``: the one, of all a + c 1 that LayerNorm cannot tell apart, that is least in sum |a|.

    It treats a and -a alike. Of two entries it leaves exact opposites, of equal ones exactly 0.
    """
    low, high = _middle(a, dim)
    return (a - low) - (high - low) / 2


def _middle(a: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The two entries in the middle, of an odd number the same one twice; NaN counts as larger than every number."""
    if a.device.type == "cpu":
        # NumPy's sort is by the processor's vector instructions and takes a tenth as long as torch's.
        ordered = torch.from_numpy(np.sort(a.numpy(force=True), axis=dim))
    else:
        ordered = a.detach().sort(dim).values
    size = a.shape[dim]
    return ordered.narrow(dim, (size - 1) // 2, 1), ordered.narrow(dim, size // 2, 1)


def normalise(a: Tensor, eps: Tensor | float, dim: int = -1) -> Tensor:
    """(a - mean) / sqrt(var + eps) along ``dim``, without gain and bias.

    The first entry is subtracted before anything else, so an all-equal ``a`` gives exactly 0 at every eps, 0 included.
    """
    a = centred(a, dim)
    return a * reciprocal_deviation(a, eps, dim)


def reciprocal_deviation(a: Tensor, eps: Tensor | float, dim: int = -1) -> Tensor:
    """1 / sqrt(E a^2 + eps) along ``dim``, which is kept with size 1, of an ``a`` of mean 0; 0 where E a^2 + eps is."""
    variance = a.square().mean(dim, keepdim=True) + eps
    constant = variance == 0
    return torch.where(constant, 0.0, torch.rsqrt(torch.where(constant, 1.0, variance)))
