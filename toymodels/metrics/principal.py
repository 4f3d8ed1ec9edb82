"""Principal components: what a linear model of m dimensions keeps of features that are correlated, and what W keeps.

    C_ij = Cov(x_i, x_j),    lambda_1 >= ... >= lambda_n its eigenvalues
    min over rank m of E |x - A x - b|^2 = sum_{k > m} lambda_k    (A the projector on the first m components)
    captured(W) = tr(Q^T C Q) / sum_{k <= m} lambda_k,    Q an orthonormal basis of the row space of W

The first is the loss that a linear model with an output bias can reach, all features equally important (Eckart and
Young 1936): a ReLU model with a bias reaches it where that model's outputs are never negative. ``captured`` is 1
exactly where the rows of W span m principal components, whichever of equal eigenvalues, and over random row spaces
(m / n) tr C / sum_{k <= m} lambda_k on average.

Of two features that are always active together and independent of all others, one component is e_a + e_b: where it is
kept and e_a - e_b is not, their columns are one direction. Elhage et al. 2022 (*Toy Models of Superposition*):
correlated features collapse to their principal component where there is not enough room for them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.features import Features

RANK = 1e-6
"""the smallest singular value of W, as a share of its largest, whose direction W is said to span"""


def covariance(features: Features) -> np.ndarray:
    """C of x as it is drawn: float64 [feature, feature]. Values are each feature's own, given that it is active."""
    p, values = features.probabilities(), features.values
    mean = np.zeros(features.n) if features.signed else p * values.mean
    first, second = np.divmod(np.arange(features.n**2), features.n)
    both = features.both_active(first, second).reshape(features.n, features.n)
    products = np.zeros_like(both) if features.signed else both * values.mean**2
    np.fill_diagonal(products, p * values.second_moment)
    return products - np.outer(mean, mean)


def linear_loss(C: np.ndarray, dimensions: int) -> float:
    """The least loss of a linear model of so many dimensions with an output bias, equal importances of 1."""
    return float(np.linalg.eigvalsh(C)[: max(0, len(C) - dimensions)].sum())


def captured(W: Tensor, C: np.ndarray) -> Tensor:
    """``captured`` of W ``[model, hidden, feature]``: float64 [model], between 0 and 1."""
    W = W.double()
    _, sizes, rows = torch.linalg.svd(W, full_matrices=False)
    spanned = (sizes > RANK * sizes[:, :1]).double()
    kept = torch.einsum("kij,jl,kil,ki->k", rows, torch.from_numpy(C), rows, spanned)
    most = np.linalg.eigvalsh(C)[::-1][: W.shape[1]].sum()
    return kept / float(most)


def captured_by_chance(C: np.ndarray, dimensions: int) -> float:
    """The mean of ``captured`` over row spaces drawn at random: m / n of all variance is in them on average."""
    most = np.linalg.eigvalsh(C)[::-1][:dimensions].sum()
    return float(min(1.0, dimensions / len(C)) * np.trace(C) / most)
