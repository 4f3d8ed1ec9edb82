"""Geometry: how the columns W_i of W_in share the hidden space. Everything here is invariant under its rotations.

Shapes: W ``[model, hidden, feature]`` in, ``[model, feature]`` or ``[model]`` out, in the precision of W.
"""

from __future__ import annotations

import torch
from torch import Tensor

NON_ZERO = 1e-6
REPRESENTED = 0.5
"""the length above which a column counts as representing its feature (Liu, Liu and Gore 2025)"""


def norms(W: Tensor) -> Tensor:
    """|W_i|: [model, feature]."""
    return torch.linalg.vector_norm(W, dim=1)


def unit_columns(W: Tensor) -> Tensor:
    """W_i / |W_i|, and 0 for a zero vector: [model, hidden, feature]."""
    lengths = norms(W)[:, None, :]
    return torch.where(lengths > 0, W / torch.where(lengths > 0, lengths, 1.0), 0.0)


def represented(W: Tensor) -> Tensor:
    """Whether |W_i| > `REPRESENTED`: bool [model, feature]."""
    return norms(W) > REPRESENTED


def features_per_dimension(W: Tensor) -> Tensor:
    """|W|_F^2 / m, m the hidden neurons: [model] (Elhage et al. 2022)."""
    return W.square().sum((1, 2)) / W.shape[1]


def interference(W: Tensor) -> Tensor:
    """sum_{j != i} (W_i/|W_i| . W_j)^2: [model, feature]; 0 for a zero vector (Elhage et al. 2022)."""
    overlaps = (unit_columns(W).transpose(1, 2) @ W).square()
    return overlaps.sum(2) - torch.diagonal(overlaps, dim1=1, dim2=2)


def dimensionality(W: Tensor) -> Tensor:
    """D_i = |W_i|^2 / sum_j (W_i/|W_i| . W_j)^2: [model, feature]; 0 for a zero vector.

    Feature dimensionality (Elhage et al. 2022), equal to the capacity of Scherlis et al. 2022. sum_i D_i <= min(n, m).
    """
    overlaps = (unit_columns(W).transpose(1, 2) @ W).square().sum(2)
    return torch.where(overlaps > 0, norms(W).square() / torch.where(overlaps > 0, overlaps, 1.0), 0.0)


def coherence(W: Tensor) -> Tensor:
    """max_{i != j} |cos(W_i, W_j)| over non-zero columns: [model]; NaN with fewer than two."""
    present = _present(W)
    unit = unit_columns(W) * present[:, None, :]
    cosines = (unit.transpose(1, 2) @ unit).abs()
    cosines.diagonal(dim1=1, dim2=2).zero_()
    return torch.where(present.sum(1) >= 2, cosines.amax((1, 2)), torch.nan)


def welch_gap(W: Tensor, dimensions: int | None = None) -> Tensor:
    """coherence - sqrt((n - m) / (m (n - 1))), n the non-zero columns: [model]; NaN with fewer than two.

    m is the number of ``dimensions`` in which the columns lie, that of the hidden space where it is not given. 0 for an
    equiangular tight frame, never below (Welch 1974); the bound is 0 where n <= m.
    """
    n, m = _present(W).sum(1).to(W.dtype), dimensions or W.shape[1]
    bound = ((n - m).clamp(min=0) / (m * (n - 1).clamp(min=1))).sqrt()
    return coherence(W) - bound


def mean_squared_overlap(W: Tensor) -> Tensor:
    """The mean of cos^2(W_i, W_j) over pairs i != j of `represented` columns: [model]; NaN with fewer than two.

    Directions drawn at random have 1 / m, m the hidden neurons; k of them at least `least_squared_overlap`.
    """
    kept = represented(W)
    unit = unit_columns(W) * kept[:, None, :]
    squares, count = (unit.transpose(1, 2) @ unit).square().sum((1, 2)), kept.sum(1).to(W.dtype)
    pairs = count * (count - 1)
    return torch.where(pairs > 0, (squares - count) / pairs.clamp(min=1), torch.nan)


def least_squared_overlap(count: Tensor, dimensions: int) -> Tensor:
    """max(0, k - m) / (m (k - 1)) of ``count`` k unit vectors in m ``dimensions`` (Welch 1974): a tight frame's."""
    return (count - dimensions).clamp(min=0) / (dimensions * (count - 1).clamp(min=1))


def _present(W: Tensor) -> Tensor:
    lengths = norms(W)
    return lengths > NON_ZERO * lengths.amax(1, keepdim=True)
