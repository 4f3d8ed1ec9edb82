"""Constructed models: built as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels import Binary, UniformValues, forward
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.hypotheses.tiers import EPS_LABELS
from toymodels.layer_norm import MATCHED_FRACTION
from toymodels.training.experiment import sampler

SEEDS = range(1000, 1008)
BY_NAME = {c.name: c for c in CONSTRUCTIONS}


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


def test_two_tiers_are_a_third_in_a_neuron_each_and_the_rest_small_in_the_others():
    W = BY_NAME["two tiers"].columns(np.random.default_rng(0), 12)
    used = np.abs(W) > 1e-9
    assert used[:, :4].sum(0).tolist() == [1] * 4
    assert not (used[:, :4].any(1) & used[:, 4:].any(1)).any()
    assert np.linalg.norm(W, axis=0) == pytest.approx([4.0] * 4 + [1.5] * 8)


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
