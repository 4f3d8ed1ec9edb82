"""Features: densities, means and variances against closed forms, joint laws, and both versions of the draw.

Statistical tests hold means to 5 standard errors: one false alarm in 10^6 per number, and the seeds are fixed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from toymodels import (
    AbsoluteValue,
    Anticorrelated,
    Binary,
    Correlated,
    Exponential,
    Features,
    FoldedNormal,
    Frequency,
    Geometric,
    Identity,
    Importance,
    Independent,
    Listed,
    One,
    Sampler,
    Together,
    Tree,
    UniformValues,
    Zipf,
)
from toymodels.firing import Firing
from toymodels.random import Domain
from toymodels.values import Values

VALUES = [UniformValues(), Binary(), FoldedNormal(), Exponential()]
TOGETHER = Together(((0, 3), (4, 5, 7)))
FIRING = [Independent(), One(), Correlated(2), Anticorrelated(2), TOGETHER, Tree(3, 1, 0.9)]
SIGMAS = 5


def features(
    values: Values = UniformValues(), signed=False, firing: Firing = Independent(), n=8, density=0.2, law=None
):
    if isinstance(firing, One):
        density = 1 / n
    frequency = Frequency(law) if law else Frequency()
    return Features(n, density, frequency=frequency, values=values, signed=signed, firing=firing)


def draw(spec, samples=40_000, seed=0):
    return Sampler([spec], [seed]).evaluation(0, samples)[0].double().numpy()


def closed_form_variance(spec):
    """Var of |x| and of x, written down apart from the package: P E v^2 - (P E v)^2, and P E v^2 when signed."""
    p = spec.probabilities()
    second = {"uniform": 1 / 3, "binary": 1, "folded_normal": 1, "exponential": 2}[spec.values.name]
    mean = {"uniform": 1 / 2, "binary": 1, "folded_normal": math.sqrt(2 / math.pi), "exponential": 1}[spec.values.name]
    return p * second - (p * mean) ** 2, p * second - (0 if spec.signed else (p * mean) ** 2), p * mean


@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("firing", FIRING, ids=lambda f: f.name)
@pytest.mark.parametrize("law", [None, Zipf(0.7), Geometric(0.8)], ids=["uniform", "zipf", "geometric"])
def test_density_mean_and_variance_are_the_laws(values, signed, firing, law):
    spec = features(values, signed, firing, law=law, density=0.15)
    assert spec.probabilities().mean() == pytest.approx(1 / 8 if isinstance(firing, One) else 0.15)
    x = draw(spec)
    n_samples = x.shape[1]
    p = spec.probabilities()
    variance_abs, variance, mean_abs = closed_form_variance(spec)
    active = (x != 0).mean(1)
    assert (abs(active - p) < SIGMAS * np.sqrt(p * (1 - p) / n_samples)).all()
    assert (abs(abs(x).mean(1) - mean_abs) < SIGMAS * np.sqrt(variance_abs / n_samples)).all()
    assert (abs(x.mean(1) - (0 if signed else mean_abs)) < SIGMAS * np.sqrt(variance / n_samples)).all()
    fourth = {"uniform": 1 / 5, "binary": 1, "folded_normal": 3, "exponential": 24}[values.name]
    second = p * {"uniform": 1 / 3, "binary": 1, "folded_normal": 1, "exponential": 2}[values.name]
    spread = np.sqrt((p * fourth - second**2) / n_samples)
    assert (abs((x**2).mean(1) - second) < SIGMAS * spread).all()


@pytest.mark.parametrize(
    "values, cdf", [(UniformValues(), "uniform"), (FoldedNormal(), "halfnorm"), (Exponential(), "expon")]
)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_active_values_follow_their_law(values, cdf, signed):
    x = draw(features(values, signed)).ravel()
    assert kstest(abs(x[x != 0]), cdf).pvalue > 1e-4
    if signed:
        assert abs((x[x != 0] > 0).mean() - 0.5) < SIGMAS * 0.5 / math.sqrt((x != 0).sum())


@pytest.mark.parametrize("p", [1e-9, 2.0**-32, 0.3, 1.0])
def test_thresholds_at_the_edges(p):
    x = draw(Features(3, p), samples=4000)
    assert (x != 0).mean() == (1.0 if p == 1.0 else pytest.approx(p, abs=SIGMAS * math.sqrt(p / 12_000)))
    assert (x >= 0).all()
    assert (x <= 1).all()


@given(st.sampled_from(VALUES), st.booleans(), st.sampled_from(FIRING), st.floats(0.001, 0.2), st.integers(0, 2**62))
def test_numba_and_torch_draw_the_same_x(values, signed, firing, density, seed):
    spec = features(values, signed, firing, density=density)
    sampler = Sampler([spec, spec], [seed, seed + 1])
    where = (3, 50, 8, Domain.DATA, Domain.FIRING)
    assert torch.equal(sampler._on_cpu(*where), sampler._elsewhere.in_torch(*where))


def test_x_is_word_over_threshold():
    from toymodels import random

    spec = features(density=0.37)
    words = random.words(np.array([5]), 8, 32, 2, Domain.DATA)[0].astype(np.float64)
    threshold = round(0.37 * 2**32)
    expected = np.where(words <= threshold - 1, words / threshold, 0).astype(np.float32)
    assert np.array_equal(Sampler([spec], [5]).training(2, 32)[0].numpy(), expected)


@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
def test_values_stay_finite_where_the_uniform_rounds_to_one(values):
    v = torch.tensor([-1.0, -(1 - 2.0**-24), -0.0, 0.0, 1e-38, 1.0])
    x = values.from_uniform(v)
    assert x.isfinite().all()
    assert torch.equal(values.from_uniform(-v), -x)
    assert x[3] == 0


def test_one_means_exactly_one():
    x = draw(Features(8, 1 / 8, Frequency(Zipf(1.0)), firing=One(), values=Binary()), samples=8000)
    assert ((x != 0).sum(0) == 1).all()


def test_groups_fire_together_or_apart():
    together = draw(features(Binary(), firing=Correlated(2)), samples=8000).reshape(2, 4, -1)
    assert (together == together[:, :1]).all()
    apart = draw(features(Binary(), firing=Anticorrelated(2)), samples=8000).reshape(2, 4, -1)
    assert ((apart != 0).sum(1) <= 1).all()
    assert (apart != 0).sum() > 0


def test_groups_are_independent_of_each_other():
    x = draw(features(Binary(), firing=Correlated(2)))
    both = (x[0] * x[4]).mean()
    assert abs(both - 0.04) < SIGMAS * math.sqrt(0.04 * 0.96 / x.shape[1])


def test_features_of_a_set_fire_together_and_all_else_independently():
    on = draw(features(Binary(), firing=TOGETHER, law=Zipf(0.5)))
    assert (on[0] == on[3]).all()
    assert (on[4] == on[5]).all()
    assert (on[4] == on[7]).all()
    correlation = np.corrcoef(on)
    same = TOGETHER.member(8)[:, None] == TOGETHER.member(8)
    assert np.allclose(correlation[same], 1)
    assert abs(correlation[~same]).max() < SIGMAS / math.sqrt(on.shape[1])


def test_values_in_a_set_are_each_features_own():
    x = draw(features(firing=TOGETHER))
    both = x[:, x[0] > 0]
    assert kstest(both[3], "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(both[0], both[3])[0, 1]) < SIGMAS / math.sqrt(both.shape[1])


def test_a_set_has_one_weight_and_groups_stand_in_the_order_of_their_first_feature():
    spec = features(firing=TOGETHER, law=Zipf(1.0), density=0.1)
    group = [0, 1, 2, 0, 3, 3, 4, 3]  # by hand: {0, 3}, 1, 2, {4, 5, 7}, 6
    assert TOGETHER.member(8).tolist() == group
    weights = np.array([1 / (g + 1) for g in group])
    assert np.allclose(spec.probabilities(), 0.1 * weights / weights.mean())
    listed = features(firing=TOGETHER, law=Listed((5.0, 4.0, 3.0, 2.0, 1.0)), density=0.1)
    assert listed.probabilities()[7] == pytest.approx(listed.probabilities()[0] * 2 / 5)


def test_the_cap_and_the_mean_hold_over_features_of_sets_too():
    p = Features(8, 0.4, Frequency(Zipf(2.0), cap=0.5), firing=TOGETHER).probabilities()
    assert p.max() == 0.5
    assert p.mean() == pytest.approx(0.4)


def test_sets_of_all_neighbours_are_correlated_groups():
    sets = Together(((0, 1, 2, 3), (4, 5, 6, 7)))
    ours, correlated = draw(features(firing=sets), 64), draw(features(firing=Correlated(2)), 64)
    assert np.array_equal(ours, correlated)


def test_the_order_of_sets_means_nothing():
    assert Together(((7, 4, 5), (3, 0))) == TOGETHER == Together([[0, 3], [4, 5, np.int64(7)]])  # pyright: ignore[reportArgumentType]


def test_independent_features_are_uncorrelated():
    x = draw(features(Binary()))
    correlation = np.corrcoef(x) - np.eye(8)
    assert abs(correlation).max() < SIGMAS / math.sqrt(x.shape[1])


def test_same_seed_same_data_whatever_the_batch():
    small, large = features(density=0.1), features(density=0.3)
    alone = Sampler([small], [7]).training(5, 100)
    together = Sampler([large, small], [1, 7]).training(5, 100)
    assert torch.equal(alone[0], together[1])
    assert torch.equal(Sampler([small], [7]).training(5, 60), alone[:, :, :60])
    assert not torch.equal(Sampler([small], [7]).training(6, 100), alone)


def test_training_and_evaluation_data_differ():
    sampler = Sampler([features()], [0])
    assert not torch.equal(sampler.training(0, 64), sampler.evaluation(0, 64))


def test_importance_is_shuffled_by_its_seed_and_independent_of_order():
    law = Geometric(0.9)
    shuffled = Importance(law, shuffle=True)
    weights = law.weights(50)
    assert np.array_equal(Importance(law).weights(50, seed=3), weights)
    assert np.array_equal(np.sort(shuffled.weights(50, seed=3)), np.sort(weights))
    assert not np.array_equal(shuffled.weights(50, seed=3), shuffled.weights(50, seed=4))
    fixed = Importance(law, shuffle=True, shuffle_seed=3)
    assert np.array_equal(fixed.weights(50, seed=8), shuffled.weights(50, seed=3))
    order = np.array([np.corrcoef(shuffled.weights(50, seed=s), np.arange(50))[0, 1] for s in range(200)])
    assert abs(order.mean()) < SIGMAS / math.sqrt(50 * 200)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: Features(0, 0.1), "a whole number from 1"),
        (lambda: Features(4, 0.5, firing=One()), "1/n"),
        (lambda: Features(4, 0.2, firing=Correlated(3)), "divisor"),
        (lambda: Features(4, 0.6, firing=Anticorrelated(2)), "at most"),
        (lambda: Features(4, 0.6, Frequency(cap=0.5)), "cap"),
        (lambda: Features(4, 0.2, firing=Together(((0, 4),))), "sets: expected features from 0 to 3, got 4"),
        (lambda: Together(()), "sets: expected at least one set"),
        (lambda: Together(((0, 1), (2,))), r"sets: expected at least 2 features in a set, got \[2\]"),
        (lambda: Together(((0, 1), (2, 1))), "sets: expected every feature at most once, got 1 twice"),
        (lambda: Together(((0, 0),)), "got 0 twice"),
        (lambda: Together(((-1, 0),)), "sets: expected a whole number from 0"),
        (lambda: Features(3, 1 / 3, Frequency(Listed((1.0, 1e-12, 1.0))), firing=One()), "2.-32"),
        (lambda: Features(4, 1e-11, firing=Anticorrelated(2)), "2.-32"),
        (lambda: Sampler([features(), features(Binary())], [0, 1]), "one values"),
    ],
)
def test_contradictions_are_refused_by_name(make, word):
    with pytest.raises(ValueError, match=word):
        make()


@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
def test_target_variance_is_the_closed_form_of_the_science(values):
    p = 0.2
    unsigned, signed = features(values, density=p), features(values, signed=True, density=p)
    expected = {
        "uniform": p / 3 - p**2 / 4,
        "binary": p * (1 - p),
        "folded_normal": p - 2 * p**2 / math.pi,
        "exponential": 2 * p - p**2,
    }[values.name]
    for target, spec, variance in (
        (Identity(), unsigned, expected),
        (AbsoluteValue(), signed, expected),
        (Identity(), signed, p * values.second_moment),
    ):
        assert target.variance(spec) == pytest.approx(np.full(8, variance))


def test_thousands_of_features_are_drawn_too():
    features = Features(4000, 0.05)
    ours, reference = Sampler([features], [1]), Sampler([features], [1])
    x = ours.training(0, 64)
    assert torch.equal(
        x, reference.values.from_uniform(reference._elsewhere.in_torch(0, 64, 0, Domain.DATA, Domain.FIRING))
    )


def test_a_sampler_has_a_seed_a_model():
    features = Features(3, 0.2)
    with pytest.raises(ValueError, match="seeds: expected one for each of 1 models, got 2"):
        Sampler([features], [0, 1])
