"""Constructed models: built as they say, and the same in every variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from toymodels import Binary, Linear, ReLU, UniformValues, forward
from toymodels.bottleneck import directions
from toymodels.hosts import Models
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN
from toymodels.hypotheses.constructed import CONSTRUCTIONS, LARGE, SMALL, VARIANTS, Variant, regime
from toymodels.hypotheses.tiers import EPS_LABELS
from toymodels.layer_norm import MATCHED_FRACTION
from toymodels.metrics.manipulation import ENGAGED, affine_substitution
from toymodels.metrics.moments import collect
from toymodels.training.experiment import sampler

SEEDS = range(1000, 1008)
BY_NAME = {c.name: c for c in CONSTRUCTIONS}
TWO_TIERS = BY_NAME["two tiers"]
CHANGED = {variant.name: variant for variant in VARIANTS}


@pytest.mark.parametrize("construction", CONSTRUCTIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("values", [Binary(), UniformValues()], ids=lambda v: v.name)
def test_controls_are_the_same_columns_in_another_basis(construction, values):
    of = regime(construction, 12, values, SEEDS, "1e-05")
    assert set(of.arms) == {MAIN, *LN_ONLY, PLAIN}
    W = of.arms[MAIN].parameters.W_in.double()
    turned = [of.arms[name].parameters.W_in.double() for name in (*LN_ONLY, PLAIN)]
    for other in turned:
        torch.testing.assert_close(other.transpose(1, 2) @ other, W.transpose(1, 2) @ W, rtol=0, atol=2e-4)
        assert torch.equal(other, turned[0])
        assert (other - W).abs().amax((1, 2)).min() > 0.05
    norms = {name: arm.experiments[0].bottleneck.layer_norm is not None for name, arm in of.arms.items()}
    assert norms == {MAIN: construction.layer_norm, **dict.fromkeys(LN_ONLY, True), PLAIN: False}
    columns = construction.columns(np.random.default_rng([1003, 12]), 12)
    assert W[3].numpy() * values.mean == pytest.approx(columns, abs=1e-5)


def test_half_of_the_neurons_have_a_large_feature_each_and_the_others_share_small_ones():
    W = TWO_TIERS.columns(np.random.default_rng(0), 12)
    used = np.abs(W) > 1e-9
    assert used[:, :6].sum(0).tolist() == [2] * 6
    assert not (used[:, :6].any(1) & used[:, 6:].any(1)).any()
    assert W.max(0)[:6] == pytest.approx([LARGE] * 6)
    assert len(set(W.argmax(0)[:6])) == 6  # the neuron that each drives up is its own
    assert W[:, :3] == pytest.approx(-W[:, 3:6])
    assert np.linalg.norm(W[:, 6:], axis=0) == pytest.approx([SMALL] * 6)


@pytest.mark.parametrize("construction", CONSTRUCTIONS, ids=lambda c: c.name)
def test_an_activation_has_work_to_do_where_features_are_in_pairs(construction):
    """What is called not testable for want of engagement is so for its columns, and nothing else is."""
    arm = regime(construction, 24, Binary(), SEEDS, "1e-05", counterparts=False).arms[MAIN]
    substitution = affine_substitution(arm, collect(arm, 32768))
    columns = construction.columns(np.random.default_rng(0), 24)
    in_pairs = bool(np.linalg.matrix_rank(columns) < columns.shape[1])
    assert bool((substitution > ENGAGED).all()) is in_pairs
    assert bool((substitution < ENGAGED).all()) is not in_pairs


def arm(variant: Variant, hidden: int = 12) -> Models:
    of = regime(TWO_TIERS, hidden, Binary(), range(3), "1e-05", variant)
    return of.arms[MAIN]


def outputs(arm: Models) -> tuple[torch.Tensor, torch.Tensor]:
    """``post`` before gain and bias, and the read-out, of one-hot examples and of two at once."""
    n = arm.experiments[0].features.n
    x = torch.cat([torch.eye(n), torch.eye(n) + torch.eye(n).roll(1, 0)], 1).expand(len(arm), -1, -1)
    p = arm.parameters
    taps = forward(replace(arm.experiments[0].bottleneck, output=Linear()), p, x)
    post = taps.post
    if p.ln_gain is not None and p.ln_bias is not None:
        post = (post - p.ln_bias[:, :, None]) / p.ln_gain[:, :, None]
    return post, taps.readout


@pytest.mark.parametrize("name", ["gain and bias", "ReLU output", "decoder"])
def test_variants_that_are_exact_compute_the_same(name):
    own, other = outputs(arm(VARIANTS[0])), outputs(arm(CHANGED[name]))
    torch.testing.assert_close(other[0], own[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(other[1], own[1], rtol=0, atol=5e-3)


def test_variants_are_what_their_names_say():
    plain = arm(VARIANTS[0])
    more = arm(CHANGED["more features than neurons"])
    assert more.experiments[0].features.n == 24
    assert torch.equal(more.parameters.W_in[:, :, :12], plain.parameters.W_in)
    assert (more.parameters.W_in[:, :, 12:] == 0).all()
    assert isinstance(arm(CHANGED["ReLU output"]).experiments[0].bottleneck.output, ReLU)
    gain = arm(CHANGED["gain and bias"]).parameters.ln_gain
    assert gain is not None
    assert gain.log().std() == pytest.approx(0.3, rel=0.5)
    decoder = arm(CHANGED["decoder"]).parameters
    assert decoder.E is not None
    torch.testing.assert_close(decoder.E.norm(dim=1), torch.ones(3, 12))
    torch.testing.assert_close(directions(decoder), plain.parameters.W_in, rtol=0, atol=1e-4)
    common = arm(CHANGED["common to all neurons"]).parameters.W_in - plain.parameters.W_in
    torch.testing.assert_close(common, common[:, :1].expand_as(common))
    assert common.std() == pytest.approx(0.05, rel=0.4)


def test_what_is_common_to_all_neurons_is_nothing_to_linear_and_layer_norm():
    by = [
        regime(TWO_TIERS, 12, Binary(), range(3), "1e-05", variant).arms["linear + LN"]
        for variant in (VARIANTS[0], Variant("much in common", common=3.0))
    ]
    assert (by[1].parameters.W_in - by[0].parameters.W_in).abs().max() > 1
    own, other = map(outputs, by)
    torch.testing.assert_close(other[0], own[0], rtol=0, atol=2e-4)
    torch.testing.assert_close(other[1], own[1], rtol=0, atol=2e-3)


def test_every_eps_is_what_its_name_says():
    eps = {name: regime(CONSTRUCTIONS[0], 12, Binary(), SEEDS, name).arms for name in EPS_LABELS}
    for name in (MAIN, *LN_ONLY):
        fixed = [eps[label][name].parameters.ln_eps for label in EPS_LABELS]
        assert fixed[0] is not None
        assert fixed[1] is not None
        assert fixed[0].tolist() == [1e-5] * 8
        assert fixed[1].tolist() == [1e-12] * 8
        arm = eps["matched"][name]
        x = sampler(arm.experiments).training(0, 4096)
        variance = forward(arm.experiments[0].bottleneck, arm.parameters, x).mid.double().var(1, correction=0).mean(1)
        assert fixed[2] is not None
        torch.testing.assert_close(fixed[2], MATCHED_FRACTION * variance, rtol=1e-4, atol=0)
