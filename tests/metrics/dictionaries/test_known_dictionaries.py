"""Data of a known linear dictionary, of which it is known what the best sparse dictionary is.

Too narrow: *hedging*. Latents of a dictionary of k latents, with a bias in its decoder, give reconstructions in an
affine space of k dimensions. So its error is no less than the sum of the least eigenvalues of Cov(a), all but k; and on
bounded data ReLU attains that without a penalty, since latents that are always on are linear. A single latent, with a
bias in encoder and decoder and free to be on as often as it needs, is therefore at its *global* optimum the first
principal axis; training need not get there (of 60 random starts on each of three laws an independent check saw 17, 12
and 17 arrive, and the rest at a median of 3 to 6 times the bound). Of two features at a right angle it is at

    phi = atan2(2 Cov(x_1, x_2), Var x_1 - Var x_2) / 2

to the first: features that are independent are not mixed, those that come together are added, those that keep apart are
subtracted, and where Cov = 0 and the variances are equal every axis is as good and phi is undefined (Chanin, Dulka,
Garriga-Alonso 2025, *Feature Hedging: Correlated Features Break Narrow Sparse Autoencoders*, who show the same without
biases). Where they come together no sample is less along that axis than x = 0, so the latent can be off there and on
elsewhere: an L0 that is the truth's does not help. It does where they keep apart: there the axis needs the latent on
more often than a budget allows, and mixing is less.

Wide enough, with a penalty: of n orthonormal independent features, on (1) or off (0) with probability p, in units of
the rms s = sqrt(n p), one latent a feature gives p ((1/s - f - d)^2 + penalty f) + (1 - p) d^2, least at

    d = p penalty / (2 (1 - p)),  f = 1/s - penalty / (2 (1 - p))

so that of every feature 1 - penalty s / (2 (1 - p)) is kept, and what is lost of the variance is the square of that
which is lost of a feature. Further latents change nothing.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toymodels.metrics.dictionaries import L1, BatchTopK, JumpReLU, Scores, Sparsity, TopK, fit, score

POINTS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64).T
"""x of two binary features, [feature, point]"""
TOGETHER = torch.tensor([0.62, 0.1, 0.04, 0.24])
"""how often each is seen, where features come together"""
APART = torch.tensor([0.35, 0.4, 0.22, 0.03])
INDEPENDENT = torch.tensor([0.7 * 0.9, 0.3 * 0.9, 0.7 * 0.1, 0.3 * 0.1])
NESTED = torch.tensor([0.7, 0.18, 0.0, 0.12])
"""the second only where the first is: a child and its parent"""
LAWS = {"together": TOGETHER, "apart": APART, "independent": INDEPENDENT, "nested": NESTED}


def covariance(law: Tensor) -> Tensor:
    centred = POINTS - (POINTS * law).sum(1, keepdim=True)
    return (centred * law) @ centred.T


def mixing_angle(law: Tensor) -> float:
    """phi, in radians."""
    C = covariance(law.double())
    return math.atan2(2 * C[0, 1], C[0, 0] - C[1, 1]) / 2


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_no_single_latent_is_better_than_the_principal_axis(law):
    """By optimisation in float64 of E, c, D, d together from 24 starts, on the four points: none is better, one is
    there, and it is at phi."""
    law, bound = law.double(), torch.linalg.eigvalsh(covariance(law.double()))[0].item()
    found = []
    for start in range(24):
        g = torch.Generator().manual_seed(start)
        each = torch.randn(7, generator=g, dtype=torch.float64).requires_grad_()
        optimizer = torch.optim.LBFGS([each], max_iter=400, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

        def loss(each: Tensor = each) -> Tensor:
            f = (each[:2] @ POINTS + each[2]).relu()
            return ((POINTS - each[3:5, None] * f - each[5:, None]).square().sum(0) * law).sum()

        def closure(each: Tensor = each, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = loss(each)
            value.backward()
            return value

        optimizer.step(closure)
        found.append((loss(each).item(), (torch.atan2(each[4], each[3]).item() + math.pi / 2) % math.pi - math.pi / 2))
    assert min(found)[0] == pytest.approx(bound, rel=1e-6)
    assert min(found)[1] == pytest.approx(mixing_angle(law), abs=1e-4)
    assert all(value >= bound * (1 - 1e-9) for value, _ in found)


def two_features(law: Tensor, samples: int = 16_000) -> tuple[Tensor, Tensor]:
    """Activations and directions, [model 2, hidden 4, ...], of two features at a right angle in four dimensions."""
    g = torch.Generator().manual_seed(0)
    x = POINTS[:, torch.multinomial(law, samples, replacement=True, generator=g)].float()
    directions = torch.linalg.qr(torch.randn(2, 4, 2, generator=g)).Q
    return directions @ x, directions


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        (L1(0.0), "together"),
        (L1(0.0), "apart"),
        (L1(0.0), "independent"),
        (L1(0.0), "nested"),
        (TopK(1), "together"),
        (BatchTopK(0.38), "together"),  # the truth's share of samples with something in them
        (JumpReLU(0.38), "together"),
        (BatchTopK(0.3), "nested"),
        (JumpReLU(0.3), "nested"),
    ],
    ids=repr,
)
def test_a_trained_latent_hedges_by_as_much(kind, law):
    a, directions = two_features(LAWS[law])
    axis = fit(a, kind, 1, [0, 1], 1500, 512, 5e-3).decoder[:, :, 0]
    along = (directions.transpose(1, 2) @ axis[:, :, None])[:, :, 0]
    assert along.norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-3)
    # Of the samples' own covariance: they are 16,000.
    C = torch.cov(directions[0].T @ a[0])
    of_samples = (torch.atan2(2 * C[0, 1], C[0, 0] - C[1, 1]) / 2).item()
    assert of_samples == pytest.approx(mixing_angle(LAWS[law]), abs=0.03)
    found = torch.atan(along[:, 1] / along[:, 0])
    assert found.tolist() == pytest.approx([of_samples] * 2, abs=0.02)


def independent(n: int, p: Tensor, samples: int, models: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, what is active, directions, of orthonormal independent binary features, ``p [feature]``."""
    g = torch.Generator().manual_seed(1)
    active = torch.rand(models, n, samples, generator=g) < p[:, None]
    directions = torch.linalg.qr(torch.randn(models, n, n, generator=g)).Q
    return directions @ active.float(), active, directions


@pytest.mark.parametrize("latents", [1, 3, 6])
def test_fewer_latents_than_features_span_the_most_variable(latents):
    """Without a penalty; what is missed is the variance of the rarer features."""
    p = torch.tensor([0.5, 0.3, 0.2, 0.12, 0.07, 0.04, 0.02, 0.01])
    a, active, directions = independent(8, p, 16_000)
    s = score(fit(a, L1(0.0), latents, [0, 1], 2000, 512, 5e-3), a, active, directions)
    variance = torch.stack([torch.linalg.eigvalsh(torch.cov(each)) for each in a.double()])
    assert s.unexplained.tolist() == pytest.approx(
        (variance[:, : 8 - latents].sum(1) / variance.sum(1)).tolist(), rel=0.02
    )
    expected = (p * (1 - p))[latents:].sum() / (p * (1 - p)).sum()
    assert s.unexplained.tolist() == pytest.approx([expected.item()] * 2, rel=0.1)


N, P = 10, 0.08


def wide(kind: Sparsity, latents: int) -> Scores:
    a, active, directions = independent(N, torch.full((N,), P), 16_000)
    return score(fit(a, kind, latents, [0, 1], 2500, 512, 5e-3), a, active, directions)


@pytest.mark.parametrize("latents", [N, 2 * N])
@pytest.mark.parametrize("penalty", [0.05, 0.3])
def test_of_a_penalty_it_is_known_how_much_it_costs(penalty, latents):
    s = wide(L1(penalty), latents)
    lost = penalty * math.sqrt(N * P) / (2 * (1 - P))
    found = s.mcc > 0.99  # a start can be a trap, and is seen
    assert found.any()
    assert s.kept[found].mean().item() == pytest.approx(1 - lost, abs=0.01)
    assert s.unexplained[found].sqrt().tolist() == pytest.approx([lost] * int(found.sum()), rel=0.1)
    assert s.l0[found].tolist() == pytest.approx([N * P] * int(found.sum()), rel=0.05 if latents == N else 1)
    assert (s.uniqueness <= N / latents).all()


@pytest.mark.parametrize("kind", [BatchTopK(N * P), JumpReLU(N * P)], ids=repr)
def test_told_the_truths_sparsity_nothing_shrinks(kind):
    s = wide(kind, N)
    found = s.mcc > 0.99
    assert found.any()
    for perfect in (s.kept, s.precision, s.recall, s.f1):
        assert (perfect[found] > 0.95).all()  # a batch of 512 has now more, now fewer than its mean
    assert (s.r2[found] > 0.99).all()
    assert s.shrinkage[found].tolist() == pytest.approx([1] * int(found.sum()), abs=0.01)
    assert (s.uniqueness[found] == 1).all()
