"""P6: the fit against scikit-learn, its intervals in coverage, and what it refuses to answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from toymodels import Bottleneck, Experiment, Features, Frequency, Geometric, Importance, Listed, Parameters, Zipf
from toymodels.hosts import Models
from toymodels.hypotheses.arms import covariates
from toymodels.hypotheses.predictions.p6_common_or_important import coefficients, fit, unanswerable


def drawn(rng, beta_f, beta_i, seeds=8, n=64):
    """Covariates and tiers of a model that is the regression's own."""
    of = rng.normal(size=(seeds, n, 2))
    one = torch.from_numpy(rng.random((seeds, n)) < 1 / (1 + np.exp(-(of @ [beta_f, beta_i] - 0.5))))
    return of, one


@pytest.mark.parametrize("ridge", [1.0, 0.1, 10.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_scikit_learns(seed, ridge):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40 * (seed + 1), 2)) * [1.0, 3.0] + [-4.0, 2.0]
    y = (rng.random(len(x)) < 1 / (1 + np.exp(-(x @ [1.0, -0.7] + 5)))).astype(float)
    theirs = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000, solver="newton-cholesky").fit(x, y)
    assert fit(x, y, ridge) == pytest.approx([*theirs.intercept_, *theirs.coef_[0]], abs=1e-5)
    assert ridge != 1 or (fit(x, y) == fit(x, y, 1.0)).all()  # a ridge of 1 is the one used


@pytest.mark.parametrize("gap", [1e-3, 100.0])
def test_perfect_separation_has_an_answer_and_the_right_sign(gap):
    x = np.column_stack([np.r_[-np.ones(20), np.ones(20)] * gap, np.tile([0.0, 1.0], 20)])
    c, frequency, importance = fit(x, (x[:, 0] > 0).astype(float))
    assert np.isfinite([c, frequency, importance]).all()
    assert frequency > 0
    assert abs(importance) < 1e-6


def test_the_interval_covers_the_difference_and_the_coefficients():
    rng, covered = np.random.default_rng(5), np.zeros(3)
    for _ in range(100):
        of, one = drawn(rng, 1.0, 0.4)
        found = coefficients(of, one, ~one)
        for k, (name, truth) in enumerate((("difference", 0.6), ("frequency", 1.0), ("importance", 0.4))):
            _, low, high, seeds = found[name]
            assert seeds == 8
            covered[k] += low <= truth <= high
    assert (covered >= 85).all(), covered


def test_the_order_of_features_does_not_matter():
    rng = np.random.default_rng(2)
    of, one = drawn(rng, 0.8, -0.3)
    two = ~one & torch.from_numpy(rng.random((8, 64)) < 0.8)  # the rest is lost
    order = rng.permutation(64)
    straight, mixed = coefficients(of, one, two), coefficients(of[:, order], one[:, order], two[:, order])
    for name, numbers in straight.items():
        assert mixed[name] == pytest.approx(numbers, abs=1e-8)


def test_a_feature_that_is_lost_does_not_count():
    of, one = drawn(np.random.default_rng(3), 0.8, -0.3)
    lost = torch.rand(8, 64, generator=torch.Generator().manual_seed(0)) < 0.3
    moved = of.copy()
    moved[lost.numpy()] = 1e3
    whole = coefficients(of, one & ~lost, ~one & ~lost)
    assert coefficients(moved, one & ~lost, ~one & ~lost) == whole


def test_no_importance_at_all_is_left_out():
    of, one = drawn(np.random.default_rng(3), 0.8, -0.3)
    of[:, 0, 1] = -np.inf
    assert all(np.isfinite(numbers).all() for numbers in coefficients(of, one, ~one).values())
    assert unanswerable(of) is None


def test_an_empty_tier_and_few_seeds_have_no_interval():
    of, one = drawn(np.random.default_rng(3), 0.8, -0.3)
    none = torch.zeros_like(one)
    assert np.isnan(coefficients(of, one, none)["difference"][:3]).all()
    assert np.isnan(coefficients(of, none, none)["difference"][:3]).all()
    only = torch.zeros_like(one)
    only[0, 0] = True  # without its seed tier one is empty
    assert np.isnan(coefficients(of, only, ~only)["difference"][1:3]).all()
    for seeds in (2, 3, 4):
        few = coefficients(of[:seeds], one[:seeds], ~one[:seeds])["difference"]
        assert np.isfinite(few[0])
        assert np.isfinite(few[1:3]).all() == (seeds == 4)
        assert few[3] == seeds


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_confounded_is_refused_with_the_reason(sign):
    rng = np.random.default_rng(0)
    frequency = rng.normal(size=(8, 64, 1))
    tied = np.concatenate([frequency, sign * 2 * frequency + 0.1 * rng.normal(size=(8, 64, 1))], 2)
    assert (unanswerable(tied) or "").startswith("frequency and importance are correlated (1.00)")
    apart = np.concatenate([frequency, rng.normal(size=(8, 64, 1))], 2)
    assert unanswerable(apart) is None
    assert unanswerable(apart * [1.0, 0.0]) == "importance does not vary"
    assert unanswerable(apart * [0.0, 1.0] + 0.1) == "frequency does not vary"
    assert unanswerable(np.full((2, 3, 2), -np.inf)) == "frequency does not vary"


def test_covariates_are_those_of_the_experiments():
    importance = Importance(Geometric(0.9), shuffle=True)
    features = Features(12, 0.1, Frequency(Zipf(1.0), cap=0.5), importance)
    es = [Experiment(features, Bottleneck(3), seed=seed) for seed in range(6)]
    of = covariates(Models(es, Parameters(torch.zeros(6, 3, 12))))
    assert of[..., 0] == pytest.approx(np.log(np.tile(features.probabilities(), (6, 1))))
    assert np.exp(of[..., 1]) == pytest.approx(np.stack([e.importance() for e in es]))
    assert np.ptp(of[:, 0, 1]) > 0  # another permutation a seed
    assert unanswerable(of) is None
    sorted_alike = Features(12, 0.1, Frequency(Zipf(1.0), cap=0.5), Importance(Geometric(0.9)))
    same = covariates(Models([Experiment(sorted_alike, Bottleneck(3))] * 2, Parameters(torch.zeros(2, 3, 12))))
    assert "correlated" in (unanswerable(same) or "")
    nothing = Features(2, 0.1, importance=Importance(Listed((1.0, 0.0))))
    assert (
        covariates(Models([Experiment(nothing, Bottleneck(1))], Parameters(torch.zeros(1, 1, 2))))[0, 1, 1] == -np.inf
    )
