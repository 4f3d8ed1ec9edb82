"""Phases: the candidates' losses against samples and SciPy, and where they change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from toymodels.metrics.phases import Phase, boundary, candidate_losses, second_feature

W = {Phase.DROPPED: (1.0, 0.0), Phase.DEDICATED: (0.0, 1.0), Phase.SUPERPOSED: (1.0, -1.0)}


@pytest.mark.parametrize("p, r", [(0.05, 0.3), (0.3, 1.0), (0.8, 4.0)])
def test_losses_are_those_of_the_candidates_over_data(p: float, r: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((2, 400_000)) * (rng.random((2, 400_000)) < p)
    biases = {Phase.DROPPED: (0, p / 2), Phase.DEDICATED: (p / 2, 0), Phase.SUPERPOSED: (0, 0)}
    for phase, loss in candidate_losses(torch.tensor(p), torch.tensor(r)).items():
        w = np.array(W[phase])
        y = np.maximum(np.outer(w, w) @ x + np.array(biases[phase])[:, None], 0)
        errors = (np.array([1, r])[:, None] * (x - y) ** 2).sum(0)
        assert loss.item() == pytest.approx(errors.mean(), abs=5 * errors.std() / np.sqrt(len(errors)))


@pytest.mark.parametrize("r", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_below_the_boundary_superposition_is_best_and_above_it_is_not(r: float) -> None:
    def less(p: float) -> float:
        losses = candidate_losses(torch.tensor(p, dtype=torch.float64), torch.tensor(r, dtype=torch.float64))
        return float(losses[Phase.SUPERPOSED] - min(losses[Phase.DROPPED], losses[Phase.DEDICATED]))

    assert brentq(less, 1e-3, 1) == pytest.approx(boundary(torch.tensor(r, dtype=torch.float64)).item())
    assert less(0.01) < 0


def test_the_second_feature_of_each_candidate() -> None:
    length, overlap = second_feature(torch.tensor([[W[phase]] for phase in Phase]))
    assert length.tolist() == [0, 1, 1]
    assert overlap.tolist() == [0, 0, 1]
