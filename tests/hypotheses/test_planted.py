"""Planted models: trained ones at strength 0, two tiers by definition at strength 1, and none where z is rotated."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from toymodels import forward
from toymodels.bottleneck import directions
from toymodels.hosts import Models
from toymodels.hypotheses import crowding, planted
from toymodels.hypotheses.planted import AMPLITUDE, DRIVE, FIT_FROM, FIT_ON, experiments, plant, tiers, trained, turn
from toymodels.hypotheses.predictions import p2_rescaled, p3_gated, p4_needs_norm
from toymodels.hypotheses.tiers import EPS_LABELS
from toymodels.metrics.manipulation import ENGAGED, affine_substitution
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import best_neuron_r2, r2
from toymodels.metrics.ungated import r2_ungated
from toymodels.surgery import refit
from toymodels.sweeps.spec.sweep import find, read
from toymodels.training.experiment import sampler

SAMPLES = 16_384
SIZES = (3, 5, 8, 13)


@pytest.fixture(scope="module", params=["1e-05", "1e-12"])
def arm(request) -> Models:
    return trained([7000, 7001], request.param)


def first_tier(arm: Models, K: int) -> torch.Tensor:
    """Which features become tier one, bool [model, feature]."""
    found = torch.zeros(len(arm), 64, dtype=torch.bool)
    moments = collect(arm, FIT_ON, FIT_FROM)
    for k, (first, _) in enumerate(tiers(moments, K)):
        found[k, list(first)] = True
    return found


@pytest.mark.parametrize("eps", EPS_LABELS)
def test_it_is_the_primary_regime_of_the_sweep(eps):
    """But for what the sweep tunes."""
    sweep = read(find("two_tiers")).with_setting("model.activation", "solu")
    primary = [sweep.settings(cell).experiment("here") for cell in range(len(sweep)) if sweep.is_primary(cell)]
    (own,) = experiments([0], eps)
    tuned = {"init_scale": own.bottleneck.init_scale}
    found = [
        replace(
            e,
            bottleneck=replace(e.bottleneck, **tuned),
            training=replace(e.training, learning_rate=own.training.learning_rate),
        )
        for e in primary
    ]
    assert own in found


def test_at_strength_0_it_is_the_trained_model_with_its_read_out_refitted(arm):
    same = plant(arm, 5, 0.0)
    fitted = refit(arm, samples=FIT_ON, first=FIT_FROM).parameters
    for name, tensor in fitted.present().items():
        torch.testing.assert_close(same.parameters.present()[name], tensor)


@pytest.mark.parametrize("K", SIZES)
def test_columns_are_what_was_asked_for(arm, K):
    D, one = directions(plant(arm, K, 1.0).parameters), first_tier(arm, K)
    for columns, first in zip(D, one, strict=True):
        large = columns[:, first]
        assert large.amax(0) == pytest.approx(torch.full((K,), DRIVE), rel=1e-3)
        assert len(set(large.argmax(0).tolist())) == K
        lengths = columns[:, ~first].norm(dim=0).sort(descending=True).values
        hidden = int((lengths > 0.5).sum())
        assert lengths[:hidden] == pytest.approx(torch.full((hidden,), AMPLITUDE), rel=1e-3)
        assert lengths[hidden] < 0.15
        assert hidden == 2 * min(16 - max(-(-K // 2), min(K, 8)), (32 - K) // 2)
        neurons = large.argmax(0)
        assert columns[neurons][:, ~first].abs().max() < 0.15  # tier two is in other neurons


def test_strength_moves_every_number_on_a_straight_line(arm):
    at = [plant(arm, 5, s).parameters for s in (0.0, 0.25, 1.0)]
    for name in ("W_in", "E", "b_in", "ln_gain", "ln_bias"):
        low, between, high = (getattr(p, name) for p in at)
        torch.testing.assert_close(between, torch.lerp(low, high, 0.25), rtol=0, atol=1e-5)
        assert not torch.equal(low, high)


@pytest.mark.parametrize("K", SIZES)
def test_at_full_strength_it_has_two_tiers_by_definition(arm, K):
    """What these models are, measured once, far from every line: see the numbers."""
    both, one = plant(arm, K, 1.0), first_tier(arm, K)
    e, p = both.experiments, both.parameters
    moments = collect(Models(e, p), SAMPLES)
    alone, whole = best_neuron_r2(moments, "post"), r2(moments)
    assert alone[one].min() > 0.7
    assert whole[one].min() > 0.8
    ungated = r2_ungated(Models(e, p), one[None], SAMPLES)[0][0]
    two = ~one & (ungated > 0.5)
    assert two.sum(1).min() >= 14
    assert (two & (alone < 0.3)).sum(1).min() >= 12  # hidden at every cut
    assert not (two & (alone > 0.5)).any()
    assert affine_substitution(Models(e, p), moments).min() > ENGAGED + 0.02
    changes = p2_rescaled.changes(both, 0, SAMPLES)
    for model in range(2):
        mid, post = (changes[tap][model] for tap in ("mid", "post"))
        assert mid[two[model]].mean() < mid[one[model]].mean() / 10
        assert post[two[model]].mean() > post[one[model]].mean() / 2.5
    gated = p3_gated.effects(both)["gated"]
    assert p3_gated.gating(gated, one, two).min() > 0.9
    observed = crowding.observe(both, 0, SAMPLES)
    lost = crowding.drops(observed, one)
    of_one, of_two = (float(lost[where].nanmean()) for where in (one, two))
    assert of_two - of_one > 0.15 or (K == 3 and math.isnan(of_one))  # two of three are seldom active together
    frozen = p4_needs_norm.drops(both, moments, SAMPLES, 2 * SAMPLES)
    for kind in p4_needs_norm.DECISIVE:
        for model in range(2):
            assert frozen[kind][model][two[model]].mean() - frozen[kind][model][one[model]].mean() > 0.2


def test_with_an_axis_a_feature_an_affine_map_does_as_well(arm, monkeypatch):
    """Why features are in pairs: the same two tiers without are not testable."""
    codes = planted._codes

    def unpaired(*args):
        C, S = codes(*args)
        return C, S.clamp(min=0)

    monkeypatch.setattr(planted, "_codes", unpaired)
    apart = plant(arm, 8, 1.0)
    moments = collect(apart, SAMPLES)
    assert affine_substitution(apart, moments).max() < ENGAGED


def test_turned_by_nothing_it_is_the_same_and_turned_it_has_no_tier_one(arm):
    both, one = plant(arm, 8, 1.0), first_tier(arm, 8)
    x = sampler(arm.experiments).evaluation(0, 512)
    own, same = (forward(a.experiments[0].bottleneck, a.parameters, x).out for a in (both, turn(both, 0.0)))
    torch.testing.assert_close(same, own, rtol=0, atol=2e-3)
    turned = turn(both, 1.0)
    norms = (directions(a.parameters).norm(dim=1) for a in (both, turned))
    torch.testing.assert_close(*norms, rtol=1e-4, atol=1e-4)
    moments = collect(turned, SAMPLES)
    assert best_neuron_r2(moments, "post")[one].mean() < 0.65
    assert torch.isfinite(turned.parameters.W_in).all()


def test_what_cannot_be_planted_is_refused(arm):
    for K, strength, message in ((0, 1.0, "no room"), (31, 1.0, "no room"), (30, 1.0, "no room"), (5, 1.5, "strength")):
        with pytest.raises(ValueError, match=message):
            plant(arm, K, strength)
    bare = Models(arm.experiments, replace(arm.parameters, ln_gain=None, ln_bias=None))
    with pytest.raises(ValueError, match="gain"):
        plant(bare, 5, 1.0)
