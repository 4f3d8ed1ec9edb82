"""Cohen's kappa against tables by hand, scikit-learn, and its standard error by autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import cohen_kappa_score

from toymodels.hypotheses.statistics.agreement import cohens_kappa


def of_table(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """The judgements of two judges that a table of counts is of."""
    cells = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [i for i, _ in cells], [j for _, j in cells]


@pytest.mark.parametrize(
    ("table", "kappa"),
    [
        ([[20, 5], [10, 15]], 0.4),  # p_o = .7, p_e = .5
        ([[10, 0], [0, 10]], 1.0),
        ([[0, 10], [10, 0]], -1.0),
        ([[25, 25], [25, 25]], 0.0),
        ([[44, 5, 1], [7, 20, 3], [9, 5, 6]], (0.7 - 0.41) / (1 - 0.41)),
    ],
)
def test_by_hand(table: list[list[int]], kappa: float) -> None:
    found = cohens_kappa(*of_table(table))
    assert found.mean == pytest.approx(kappa)
    assert found.n == np.sum(table)
    assert found.low <= found.mean <= found.high


def by_autograd(table: torch.Tensor) -> tuple[float, float]:
    """kappa and its standard error: sqrt(g' (diag p - p p') g / N), g by autograd."""
    p = (table.double() / table.sum()).requires_grad_()
    observed, expected = p.trace(), p.sum(1) @ p.sum(0)
    kappa = (observed - expected) / (1 - expected)
    (g,) = torch.autograd.grad(kappa, p)
    q = p.detach()
    return kappa.item(), (((q * g**2).sum() - (q * g).sum() ** 2) / table.sum()).clamp(min=0).sqrt().item()


@pytest.mark.parametrize("seed", range(20))
def test_it_is_scikit_learns_and_its_error_is_the_delta_methods(seed: int) -> None:
    rng = np.random.default_rng(seed)
    categories = 2 + seed % 3
    table = rng.integers(1, 30, (categories, categories))
    first, second = of_table(table.tolist())
    found = cohens_kappa(first, second)
    kappa, error = by_autograd(torch.from_numpy(table))
    assert found.mean == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)
    assert found.mean == pytest.approx(kappa, abs=1e-12)
    assert found.high - found.mean == pytest.approx(norm.ppf(0.975) * error, abs=1e-12)
    swapped = cohens_kappa(second, first)
    assert (swapped.mean, swapped.low, swapped.high) == pytest.approx((found.mean, found.low, found.high))
    named = cohens_kappa(["abcd"[i] for i in first], ["abcd"[j] for j in second])
    assert named == found


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = np.array([[0.4, 0.15], [0.1, 0.35]])
    expected = p.sum(1) @ p.sum(0)
    truth = (np.trace(p) - expected) / (1 - expected)
    covered = 0
    for _ in range(300):
        found = cohens_kappa(*of_table(rng.multinomial(120, p.ravel()).reshape(2, 2).tolist()))
        covered += found.low <= truth <= found.high
    assert 0.9 <= covered / 300 <= 0.99


def test_what_is_undefined_says_so() -> None:
    for judged in ([], [True] * 5):
        found = cohens_kappa(judged, judged)
        assert math.isnan(found.mean)
        assert (found.low, found.high, found.n) == (-math.inf, math.inf, len(judged))
    with pytest.raises(ValueError, match="as many"):
        cohens_kappa([1], [1, 2])
