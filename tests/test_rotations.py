"""Haar rotations: orthogonal, uniform on the sphere, addressed."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import beta, kstest

from toymodels.rotations import drawn_rotations, haar, haar_about_ones


def test_rotations_are_orthogonal_and_addressed():
    Q = haar(np.array([3, 4]), 7, step=2)
    assert torch.allclose(Q @ Q.transpose(1, 2), torch.eye(7, dtype=torch.float64).expand(2, 7, 7), atol=1e-12)
    assert torch.equal(haar(np.array([4]), 7, step=2)[0], Q[1])
    assert not torch.allclose(haar(np.array([4]), 7, step=3)[0], Q[1])


def test_entries_have_haars_marginal():
    """A coordinate q of a uniform unit vector in R^m has (q + 1) / 2 ~ Beta((m-1)/2, (m-1)/2)."""
    Q = haar(np.arange(4000), 5, step=1)
    for entry in (Q[:, 0, 0], Q[:, 2, 4], Q[:, 4, 1]):
        assert kstest(((entry + 1) / 2).numpy(), beta(2, 2).cdf).pvalue > 1e-4


def test_rotations_about_ones_leave_ones_and_turn_the_rest():
    Q = haar_about_ones(np.arange(4000), 6, step=1)
    ones = torch.ones(6, dtype=torch.float64)
    assert torch.allclose(Q @ ones, ones.expand(4000, 6), atol=1e-12)
    assert torch.allclose(Q @ Q.transpose(1, 2), torch.eye(6, dtype=torch.float64).expand(4000, 6, 6), atol=1e-12)
    # What is orthogonal to 1 becomes a uniform unit vector of the five dimensions that are.
    a = torch.tensor([1.0, -1, 0, 0, 0, 0], dtype=torch.float64) / 2**0.5
    b = torch.tensor([1.0, 1, 1, -1, -1, -1], dtype=torch.float64) / 6**0.5
    entry = b @ Q @ a
    assert kstest(((entry + 1) / 2).numpy(), beta(2, 2).cdf).pvalue > 1e-4


def test_drawn_rotations_are_of_their_seed():
    drawn = drawn_rotations(4, 3, 7, about_ones=False)
    assert torch.equal(drawn[1], haar(np.array([7]), 4, step=2)[0].float())
    assert not torch.equal(drawn, drawn_rotations(4, 3, 8, about_ones=False))
    assert torch.allclose(drawn_rotations(4, 3, 7, about_ones=True).sum(2), torch.ones(3, 4), atol=1e-6)
    assert torch.equal(haar_about_ones(np.array([0]), 1, step=1), torch.ones(1, 1, 1, dtype=torch.float64))
