"""Quadrature: exact on polynomials, and on what grows slowly towards 1."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels.quadrature import legendre, unit_interval


@pytest.mark.parametrize("order", [1, 4, 8])
def test_legendre_is_exact_up_to_its_degree_and_not_beyond(order: int) -> None:
    nodes, weights = legendre(order)
    for degree in range(2 * order):
        assert float(weights @ nodes**degree) == pytest.approx(1 / (degree + 1), rel=1e-13)
    assert abs(float(weights @ nodes ** (2 * order)) - 1 / (2 * order + 1)) > 1e-12


def test_the_unit_interval_takes_a_logarithm_at_its_end() -> None:
    u, weights = unit_interval(panels=64, order=16)
    assert float(weights.sum()) == pytest.approx(1, rel=1e-13)
    for power in (1, 2, 4):
        assert float(weights @ (-torch.log1p(-u)) ** power) == pytest.approx(math.factorial(power), rel=1e-8)
