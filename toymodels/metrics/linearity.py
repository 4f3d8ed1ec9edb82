"""Linearity: how linear is a linear unit on the data it sees?

The share of act(z)'s variance, summed over neurons, that the best affine map of z leaves unexplained:

    1 - tr(C_az C_zz^+ C_za) / tr(C_aa),    a = act(z), C the covariances on fresh data.

0 for a layer that acts affinely, whatever its name. That map itself, a ~ A z + c, is `affine_map`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments

CUTOFF = 1e-6
"""share of the largest variance along a direction of z at or below which z counts as not varying there"""


@dataclass(frozen=True)
class AffineMap:
    """z -> A z + c, one a model, float64."""

    A: Tensor
    """[model, hidden, hidden]"""
    c: Tensor
    """[model, hidden]"""


def unexplained_by_affine(moments: Moments) -> Tensor:
    """The share in [0, 1]: float64 [model]; NaN where act(z) does not vary."""
    C_az, vectors, inverse = _regression(moments)
    total = moments.tap_variance("mid").sum(1)
    explained = ((C_az @ vectors).square() * inverse[:, None, :]).sum((1, 2))
    return torch.where(total > 0, (1 - explained / total).clamp(0, 1), torch.nan)


def affine_map(moments: Moments) -> AffineMap:
    """The least-squares affine map of z to act(z) on these samples: A = C_az C_zz^+, c = E a - A E z.

    Of the many there are where z does not vary along some direction, the one that ignores it.
    """
    C_az, vectors, inverse = _regression(moments)
    A = (C_az @ vectors * inverse[:, None, :]) @ vectors.transpose(1, 2)
    return AffineMap(A, moments.tap["mid"] - (A @ moments.tap["pre"][:, :, None])[:, :, 0])


def _regression(moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """C_az [model, hidden, hidden], eigenvectors of C_zz in columns, and the inverse of its eigenvalues, or 0."""
    z, a = moments.tap["pre"], moments.tap["mid"]
    C_zz = moments.tap_tap["pre"] - z[:, :, None] * z[:, None, :]
    C_az = moments.mid_pre - a[:, :, None] * z[:, None, :]
    # One model's rubbish must not keep the others from being measured: eigh refuses a batch for one matrix of it.
    values, vectors = torch.linalg.eigh(torch.nan_to_num(C_zz, posinf=0.0, neginf=0.0))
    usable = values > CUTOFF * values[:, -1:].clamp(min=0)
    return C_az, vectors, torch.where(usable, 1 / torch.where(usable, values, 1.0), 0.0)
