"""Plateaus: the dimensionalities of regular arrangements, and how many features of a model sit on them.

D_i of unit vectors that are arranged regularly (`toymodels.metrics.geometry.dimensionality`) is one of

    1    a dimension of its own        1/2    antipodal pair, cross-polytope
    3/4  tetrahedron                   2/5    pentagon
    2/3  triangle                      3/8    square antiprism

Elhage et al. 2022 (*Toy Models of Superposition*, section 4) report that D_i of trained models cluster there, and that
the mean over a model, D* = m / |W|_F^2, stays at 1 and at 1/2 over wide ranges of sparsity.

A share of features within some width of a value says little alone: some would be there if D_i had any smooth
distribution. How many, the neighbourhood tells: the features in the shoulders of a plateau, between one and three
widths from it and beyond one width of every other,

    expected = (features in the shoulders) (length of the band) / (length of the shoulders)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.metrics.geometry import norms, unit_columns

PLATEAUS = {
    "own dimension": 1.0,
    "tetrahedron": 3 / 4,
    "triangle": 2 / 3,
    "antipodal pair": 1 / 2,
    "pentagon": 2 / 5,
    "square antiprism": 3 / 8,
}
"""the exact D_i of regular arrangements, by their names"""
SHOULDERS = 3.0
"""how many widths from a plateau its shoulders end"""
FINE = 200_001
"""points of [0, 1] by which bands and shoulders are measured"""


@dataclass(frozen=True)
class OnPlateaus:
    """Of the present features of each model, float64 [model, plateau] each, NaN where a model has none."""

    share: Tensor
    """those within the width of a plateau, and of no nearer one"""
    expected: Tensor
    """what the shoulders would have there"""

    @property
    def excess(self) -> Tensor:
        """``share - expected``: 0 on average for D_i of any distribution that is straight around the plateau."""
        return self.share - self.expected


def on_plateaus(D: Tensor, present: Tensor, width: float) -> OnPlateaus:
    """How many features sit within ``width`` of each of `PLATEAUS`, of those ``present``; [model, feature] each."""
    D = D.double().clamp(0, 1)
    count = present.sum(1, dtype=torch.float64)
    axis = torch.linspace(0, 1, FINE, dtype=torch.float64)
    share, expected = [], []
    for plateau in range(len(PLATEAUS)):
        band, shoulders = _band(D, plateau, width), _shoulders(D, plateau, width)
        lengths = [region(axis, plateau, width).double().mean() for region in (_band, _shoulders)]
        share.append((band & present).sum(1) / count)
        expected.append((shoulders & present).sum(1) / count * lengths[0] / lengths[1])
    return OnPlateaus(torch.stack(share, 1), torch.stack(expected, 1))


def dimensions_a_feature(W: Tensor) -> Tensor:
    """D* = m / |W|_F^2 of W [model, hidden, feature]: float64 [model]; infinite where W is 0.

    |W|_F^2 counts the features that are represented, where each has length 1.
    """
    return W.shape[1] / norms(W.double()).square().sum(1)


def scattered(W: Tensor, seed: int) -> Tensor:
    """Columns as long as those of W in directions drawn at random, uniform on the sphere: of the shape of W."""
    drawn = torch.randn(W.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return unit_columns(drawn) * norms(W.double())[:, None, :]


def _distances(D: Tensor) -> Tensor:
    """|D - value| of each plateau: [..., plateau]."""
    return (D[..., None] - torch.tensor(list(PLATEAUS.values()), dtype=torch.float64)).abs()


def _band(D: Tensor, plateau: int, width: float) -> Tensor:
    away = _distances(D)
    return (away[..., plateau] <= width) & (away.argmin(-1) == plateau)


def _shoulders(D: Tensor, plateau: int, width: float) -> Tensor:
    away = _distances(D)
    near_any = (away <= width).any(-1)
    return ~near_any & (away[..., plateau] <= SHOULDERS * width)
