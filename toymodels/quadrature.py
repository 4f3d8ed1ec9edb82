"""Quadrature: integrals over the unit interval by composite Gauss-Legendre rules.

Value laws are functions of one uniform u in (0, 1) and may be unbounded as u -> 1. With u = 1 - (1 - s)^3 the nodes
crowd there and the weight 3 (1 - s)^2 tames what grows slower than a power: integrals of such a law's moments converge
as fast as those of a smooth function.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toymodels.surroundings import undisturbed


def legendre(order: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Legendre rule on (0, 1), float64 [order] each; exact up to degree 2 order - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def crowded(s: Tensor) -> tuple[Tensor, Tensor]:
    """u = 1 - (1 - s)^3 and du / ds = 3 (1 - s)^2, of the shape of s."""
    return 1 - (1 - s) ** 3, 3 * (1 - s) ** 2


@undisturbed
def unit_interval(panels: int, order: int) -> tuple[Tensor, Tensor]:
    """Nodes u in (0, 1) and their weights, crowded towards 1: float64 [panels x order] each."""
    nodes, weights = legendre(order)
    s = (torch.arange(panels, dtype=torch.float64)[:, None] + nodes) / panels
    u, density = crowded(s)
    return u.flatten(), (density * weights / panels).flatten()
