"""Linearity: how linear is a linear unit on the data it sees?

The share of act(z)'s variance, summed over neurons, that the best affine map of z leaves unexplained:

    1 - tr(C_az C_zz^+ C_za) / tr(C_aa),    a = act(z), C the covariances on fresh data.

0 for a layer that acts affinely, whatever its name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments

CUTOFF = 1e-6


def unexplained_by_affine(moments: Moments) -> Tensor:
    """The share in [0, 1]: float64 [model]; NaN where act(z) does not vary."""
    z, a = moments.tap["pre"], moments.tap["mid"]
    C_zz = moments.tap_tap["pre"] - z[:, :, None] * z[:, None, :]
    C_az = moments.mid_pre - a[:, :, None] * z[:, None, :]
    total = moments.tap_variance("mid").sum(1)
    values, vectors = torch.linalg.eigh(torch.nan_to_num(C_zz))
    usable = values > CUTOFF * values[:, -1:].clamp(min=0)
    inverse = torch.where(usable, 1 / torch.where(usable, values, 1.0), 0.0)
    explained = ((C_az @ vectors).square() * inverse[:, None, :]).sum((1, 2))
    return torch.where(total > 0, (1 - explained / total).clamp(0, 1), torch.nan)
