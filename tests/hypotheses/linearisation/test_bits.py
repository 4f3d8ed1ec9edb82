"""Bits: estimators against what they estimate, exact lists, and the bound that a function of x cannot pass."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.hypotheses.linearisation.conftest import M, experiments_of, parameters_of
from toymodels import Bottleneck, Linear, Parameters, ReLU, forward
from toymodels.hypotheses.linearisation import bits
from toymodels.hypotheses.linearisation.bits import (
    active_sets,
    digests,
    growing,
    independent_bits,
    listed_bits,
    saturated,
)

P = np.array([0.5, 0.2, 0.1, 0.05, 0.3])


def every_set(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All 2^n active sets and their probabilities."""
    sets = np.array(list(product([False, True], repeat=len(p)))).T
    return sets, np.prod(np.where(sets, p[:, None], 1 - p[:, None]), axis=0)


def masks(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> np.ndarray:
    return digests((forward(bottleneck, parameters, x.double()).pre > 0).long())


def test_the_entropy_of_independent_features_is_that_of_all_their_sets() -> None:
    assert independent_bits(P) == pytest.approx(bits.entropy(every_set(P)[1]))
    assert independent_bits(np.array([0.5] * 3)) == 3
    assert independent_bits(np.array([0.0, 1.0])) == 0


def test_sets_of_each_size_are_all_there_with_their_share() -> None:
    sets, probability = every_set(P)
    for active in range(len(P) + 1):
        listed, given = active_sets(P, active)
        assert listed.shape[1] == math.comb(len(P), active)
        assert (listed.sum(0) == active).all()
        right = sets.sum(0) == active
        assert sorted(given) == pytest.approx(sorted(probability[right] / probability[right].sum()))


def test_a_layer_with_a_neuron_a_feature_has_a_mask_an_active_set_and_its_entropy() -> None:
    layer = Bottleneck(len(P), ReLU(), None, Linear(), tied=False, hidden_bias=True)
    eye = torch.eye(len(P), dtype=torch.float64)[None]
    p = Parameters(eye, eye, b_in=torch.full((1, len(P)), -0.5, dtype=torch.float64), b_out=eye[:, 0])
    sets, probability = every_set(P)
    codes = masks(layer, p, torch.from_numpy(sets)[None])[0]
    assert len(np.unique(codes)) == 2 ** len(P)
    assert listed_bits(codes, probability) == pytest.approx(independent_bits(P))
    drawn = np.random.default_rng(0).choice(len(codes), 40_000, p=probability)
    seen = bits.bits(codes[drawn])
    assert seen.distinct == 2 ** len(P)
    assert seen.corrected == pytest.approx(independent_bits(P), abs=0.02)
    assert saturated(growing(codes[drawn]))


def test_a_mask_of_binary_features_carries_at_most_the_active_set_and_the_estimates_bracket_it() -> None:
    """Of a layer that merges some sets: exactly by listing, and from too few samples."""
    experiments = experiments_of(ReLU(), n=12, density=0.3)
    layer, p = experiments[0].bottleneck, parameters_of(experiments)[:1]
    probabilities = experiments[0].features.probabilities()
    sets, probability = every_set(probabilities)
    codes = masks(layer, p, torch.from_numpy(sets)[None])[0]
    exact, most = listed_bits(codes, probability), independent_bits(probabilities)
    assert 1 < exact < most - 0.1
    assert len(np.unique(codes)) <= 2**M
    rng, low, high = np.random.default_rng(1), [], []
    for _ in range(20):
        drawn = rng.choice(len(codes), 256, p=probability)
        of_mask, of_set = (bits.bits(each[drawn]) for each in (codes, np.arange(len(codes))))
        assert of_mask.plug_in <= of_set.plug_in
        low.append(of_mask.plug_in)
        high.append(most - (of_set.plug_in - of_mask.plug_in))
    assert np.mean(low) < exact < np.mean(high)
    assert max(high) <= most


def test_the_correction_removes_most_of_the_bias_and_more_samples_all_of_it() -> None:
    """64 equally likely codes: 6 bits; the plug-in estimate is too small by about 63 / (2 N ln 2)."""
    rng = np.random.default_rng(0)
    found = [bits.bits(rng.integers(0, 64, 256)) for _ in range(200)]
    plug_in, corrected = (np.mean([getattr(each, name) for each in found]) for name in ("plug_in", "corrected"))
    assert plug_in == pytest.approx(6 - 63 / (2 * 256 * math.log(2)), abs=0.02)
    assert corrected == pytest.approx(6, abs=0.03)
    assert bits.bits(np.arange(64).repeat(100)).plug_in == pytest.approx(6)


def test_codes_that_are_all_new_are_not_saturated_and_say_so() -> None:
    rng = np.random.default_rng(0)
    many = growing(rng.integers(0, 2**40, 4096))
    assert not saturated(many)
    assert many[-1].unseen > 0.99
    assert many[-1].plug_in <= 12
    few = growing(rng.integers(0, 4, 4096))
    assert saturated(few)
    assert few[-1].unseen == 0
    assert saturated(growing(np.zeros(4096, np.int64)))
    assert [each.samples for each in few] == [1024, 2048, 4096]
    assert math.isnan(bits.bits(np.zeros(0, np.int64)).corrected)


def test_unseen_is_the_probability_of_what_was_not_seen() -> None:
    rng, p = np.random.default_rng(0), 1 / np.arange(1, 2001)
    p /= p.sum()
    missing, told = [], []
    for _ in range(50):
        codes = rng.choice(2000, 1000, p=p)
        missing.append(1 - p[np.unique(codes)].sum())
        told.append(bits.bits(codes).unseen)
    assert np.mean(told) == pytest.approx(np.mean(missing), rel=0.03)


def test_digests_are_equal_where_codes_are_and_only_there() -> None:
    codes = torch.randint(0, 3, (2, 6, 500), generator=torch.Generator().manual_seed(0))
    for k, row in enumerate(digests(codes)):
        same = np.unique(codes[k].numpy(), axis=1, return_inverse=True)[1].ravel()
        assert len(np.unique(row)) == same.max() + 1
        assert len(np.unique(np.stack([row, same.astype(np.uint64)]), axis=1).T) == same.max() + 1
    scale = torch.randint(0, 2, (2, 1, 500), generator=torch.Generator().manual_seed(1))
    both, joined = (
        digests(torch.cat([codes, scale], 1)),
        [bits.joined(a, b) for a, b in zip(digests(codes), digests(scale), strict=True)],
    )
    assert [len(np.unique(each)) for each in both] == [len(np.unique(each)) for each in joined]


def test_the_order_of_neurons_and_of_features_means_nothing() -> None:
    experiments = experiments_of(ReLU(), density=0.4)
    layer, p = experiments[0].bottleneck, parameters_of(experiments)
    assert p.E is not None
    assert p.b_in is not None
    sets, probability = every_set(experiments[0].features.probabilities())
    x = torch.from_numpy(sets).expand(2, -1, -1)
    expected = [listed_bits(each, probability) for each in masks(layer, p, x)]
    rng = np.random.default_rng(2)
    neurons, features = (torch.from_numpy(rng.permutation(size)) for size in (M, len(sets)))
    moved = dataclasses.replace(p, W_in=p.W_in[:, neurons], b_in=p.b_in[:, neurons], E=p.E[:, :, features])
    assert [listed_bits(each, probability) for each in masks(layer, moved, x[:, features])] == pytest.approx(expected)
