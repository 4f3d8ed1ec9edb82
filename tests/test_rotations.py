"""Haar rotations: orthogonal, uniform on the sphere, addressed."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import beta, kstest

from toymodels.rotations import haar


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
