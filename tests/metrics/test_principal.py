"""Principal components: covariances against samples and closed forms, exact minima, and models that are optimal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.metrics.principal import captured, captured_by_chance, covariance, linear_loss
from toymodels.rotations import haar
from toymodels.training.experiment import sampler

CORRELATED = tm.Features(n=6, density=0.3, firing=tm.Correlated(3))


def optimal(rows: torch.Tensor) -> torch.Tensor:
    """[1, hidden, feature], orthonormal rows."""
    return torch.linalg.qr(rows.double().T).Q.T[None]


@pytest.mark.parametrize(
    "features",
    [
        CORRELATED,
        tm.Features(n=6, density=0.2, firing=tm.Anticorrelated(3)),
        tm.Features(n=6, density=0.2, firing=tm.Anticorrelated(2), values=tm.Exponential()),
        tm.Features(n=6, density=0.3, firing=tm.Correlated(2), values=tm.Binary(), signed=True),
        tm.Features(n=5, density=0.3, frequency=tm.Frequency(tm.Zipf(1.0))),
        tm.Features(n=6, density=0.25, firing=tm.Together(((0, 5), (1, 2, 3)))),
        tm.Features(n=6, density=0.25, firing=tm.Tree(2, 1, 0.8)),
    ],
    ids=lambda features: features.firing.name,
)
def test_covariance_is_that_of_the_samples(features: tm.Features) -> None:
    e = tm.Experiment(features, tm.Bottleneck(2, output=tm.Linear()), seed=3)
    x = sampler([e]).evaluation(0, 200_000)[0].double()
    assert np.abs(np.cov(x.numpy()) - covariance(features)).max() < 0.01 * np.abs(covariance(features)).max() * 3


@pytest.mark.parametrize("p", [0.05, 0.5, 1.0])
def test_a_correlated_pair_has_the_closed_form(p: float) -> None:
    """U(0, 1): variance p/3 - p^2/4, covariance p (1 - p) / 4."""
    C = covariance(tm.Features(n=6, density=p, firing=tm.Correlated(3)))
    variance, common = p / 3 - p**2 / 4, p * (1 - p) / 4
    expected = np.kron(np.eye(3), [[variance, common], [common, variance]])
    assert np.allclose(C, expected, atol=1e-8)
    assert linear_loss(C, 2) == pytest.approx(6 * variance - 2 * (variance + common), abs=1e-7)
    assert captured_by_chance(C, 2) == pytest.approx(variance / (variance + common), abs=1e-6)


def test_dropped_features_of_a_diagonal_covariance_cost_their_variance() -> None:
    C = covariance(tm.Features(n=5, density=0.2))
    assert linear_loss(C, 3) == pytest.approx(2 * (0.2 / 3 - 0.04 / 4), abs=1e-9)
    assert linear_loss(C, 5) == linear_loss(C, 7) == 0


def test_the_linear_loss_is_reached_by_the_projector_and_by_no_model_nearby() -> None:
    C = covariance(CORRELATED)
    _, vectors = np.linalg.eigh(C)
    A = vectors[:, -2:] @ vectors[:, -2:].T
    residual = np.eye(6) - A
    best = np.trace(residual @ C @ residual.T)
    assert linear_loss(C, 2) == pytest.approx(best)
    rng = np.random.default_rng(0)
    for _ in range(50):
        W = vectors[:, -2:].T + 0.1 * rng.standard_normal((2, 6))
        left = np.eye(6) - W.T @ W
        assert np.trace(left @ C @ left.T) > best


def test_all_is_captured_by_any_two_of_three_equal_components_and_least_by_the_last() -> None:
    C = covariance(CORRELATED)
    sums = torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    differences = torch.tensor([[1.0, -1, 0, 0, 0, 0], [0, 0, 1, -1, 0, 0]])
    mixed = torch.stack([sums[0] + sums[2], sums[1] - 2 * sums[2]])
    for rows in (sums[:2], mixed):
        assert captured(optimal(rows), C).item() == pytest.approx(1)
    values = np.linalg.eigvalsh(C)
    assert captured(optimal(differences), C).item() == pytest.approx(values[0] / values[-1])
    assert captured(torch.cat([optimal(sums[:1]), torch.zeros(1, 1, 6)], dim=1), C).item() == pytest.approx(0.5)


def test_random_row_spaces_capture_what_chance_says() -> None:
    W = torch.randn(4000, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    C = covariance(CORRELATED)
    found = captured(W, C)
    assert (found <= 1 + 1e-12).all()
    assert found.mean().item() == pytest.approx(captured_by_chance(C, 2), abs=0.01)


def test_what_is_captured_hangs_on_the_row_space_alone() -> None:
    """Rotations of the hidden basis, and any invertible map of it, change nothing; features and C permute together."""
    W = torch.randn(3, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    C = covariance(CORRELATED)
    Q = haar(np.arange(3), 2, step=1)
    mixing = torch.tensor([[2.0, 1.0], [0.3, -1.0]], dtype=torch.float64)
    assert torch.allclose(captured(Q @ W, C), captured(W, C))
    assert torch.allclose(captured(mixing @ W, C), captured(W, C))
    order = [3, 0, 5, 1, 2, 4]
    assert torch.allclose(captured(W[:, :, order], C[np.ix_(order, order)]), captured(W, C))
