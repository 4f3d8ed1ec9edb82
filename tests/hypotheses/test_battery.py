"""The battery's rules on evidence made by hand, and the whole of it on models whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from toymodels import Binary, UniformValues
from toymodels.hypotheses import p1_bimodal, p2_rescaled, p3_gated, p4_needs_norm
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.battery import Finding, Setting, Tiers, corrected, findings, judge
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.hypotheses.intervals import Status, interval
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.proving import SIZES, VALUES, prove

TWO_TIERS = CONSTRUCTIONS[0]


@pytest.fixture(scope="module")
def evidence():
    return gather(regime(TWO_TIERS, 16, Binary(), range(8), "1e-05"), "1e-05", 8192)


def test_the_first_construction_alone_has_two_tiers():
    assert [c.name for c in CONSTRUCTIONS if c.two_tiers] == ["two tiers"]


def test_tiers_are_recovered_features_above_and_below_the_percentile(evidence):
    tiers = Tiers.of(evidence, Setting("1e-05", 0.5, 99.0))
    r2, percentile = evidence.arms[MAIN]["recovery"]["r2"], evidence.arms[MAIN]["p1"]["percentile"]
    assert torch.equal(tiers.one, (r2 > 0.5) & (percentile >= 99))
    assert torch.equal(tiers.two, (r2 > 0.5) & (percentile < 99))
    assert tiers.one[:, :5].all()
    assert tiers.two[:, 5:].double().mean() > 0.8


def test_too_few_features_in_over_half_of_the_seeds_is_not_supported(evidence):
    def with_seeds_spoilt(count):
        spoilt = {
            name: {**arm, "recovery": {"r2": arm["recovery"]["r2"].clone()}} for name, arm in evidence.with_norm.items()
        }
        spoilt[MAIN]["recovery"]["r2"][:count, 2:] = 0
        return findings(dataclasses.replace(evidence, arms={**evidence.arms, **spoilt}), Setting("1e-05"))

    half = with_seeds_spoilt(4)["P3"]["gating"]  # judged by the other four seeds
    assert (half.n, half.reason) == (4, "")
    assert half.status is not Status.NOT_SUPPORTED
    over_half = with_seeds_spoilt(5)
    assert over_half["P3"]["gating"].status is Status.NOT_SUPPORTED
    assert "fewer than 3 features" in over_half["P2"]["log ratio"].reason


def test_a_verdict_that_flips_with_a_setting_or_lacks_an_eps_is_undetermined(evidence):
    all_eps = [dataclasses.replace(evidence, eps=eps) for eps in ("1e-05", "1e-12", "matched")]
    assert judge(all_eps)[0].overall is Status.SUPPORTED
    one = judge(all_eps[:1])[0]
    assert one.overall is Status.UNDETERMINED
    assert "1e-12, matched" in one.notes[0]
    flat = {
        name: {**arm, "p3": {"gated": torch.zeros_like(arm["p3"]["gated"])}} for name, arm in evidence.with_norm.items()
    }
    flipped = dataclasses.replace(all_eps[2], arms={**evidence.arms, **flat})
    verdict = judge([*all_eps[:2], flipped])[0]
    assert verdict.at(Setting("1e-05"))["P3"] is Status.SUPPORTED
    assert verdict.at(Setting("matched"))["P3"] is Status.NOT_SUPPORTED
    assert (verdict.overall, verdict.predictions["P3"]) == (Status.UNDETERMINED, Status.UNDETERMINED)
    assert judge([flipped])[0].overall is Status.NOT_SUPPORTED


def test_exploratory_regimes_are_corrected_for_their_number():
    def finding(p):
        return {"P3": {"gating": Finding("gating", 1.0, 0.0, 2.0, 8, 0.1, p, 1 - p, Status.UNDETERMINED)}}

    alone = corrected([finding(0.02)])
    three = corrected([finding(0.02), finding(0.5), finding(0.004)])
    assert alone[0]["P3"]["gating"].status is Status.SUPPORTED
    assert [of["P3"]["gating"].status.value for of in three] == ["undetermined", "undetermined", "supported"]


def test_labels_without_meaning_are_rarely_supported(evidence):
    """Tier labels permuted among recovered features, at delta = 0: at most 15 of 200 (P2 to P4)."""
    rng = np.random.default_rng(0)
    tiers = Tiers.of(evidence, Setting("1e-05"))
    parts = {key: {name: arm[key] for name, arm in evidence.with_norm.items()} for key in ("p2", "p3", "p4")}
    counts: dict[str, int] = {}
    for _ in range(200):
        one, two = tiers.one.clone(), tiers.two.clone()
        for model in range(len(one)):
            recovered = (tiers.one | tiers.two)[model].nonzero()[:, 0].numpy()
            one[model, recovered] = tiers.one[model, rng.permutation(recovered)]
            two[model, recovered] = ~one[model, recovered]
        found = {
            "P2": p2_rescaled.statistic(parts["p2"], one, two),
            "P3": p3_gated.statistic(parts["p3"], one, two),
            **{kind: p4_needs_norm.statistic(parts["p4"], kind, one, two) for kind in p4_needs_norm.DECISIVE},
        }
        for name, values in found.items():
            counts[name] = counts.get(name, 0) + (interval(values.double().numpy()).p_above(0) < 0.025)
    assert max(counts.values()) <= 15, counts


def test_a_basis_without_meaning_is_rarely_bimodal(evidence):
    """P1 where every arm is rotated, at delta = 0: alignments are then draws of their null, percentiles uniform."""
    rng, supported = np.random.default_rng(0), 0
    recovered = {name: torch.ones(8, 16, dtype=torch.bool) for name in evidence.with_norm}
    for _ in range(200):
        percent = {name: {"percentile": torch.from_numpy(100 * rng.random((8, 16)))} for name in recovered}
        supported += interval(p1_bimodal.statistic(percent, recovered).numpy()).p_above(0) < 0.025
    assert supported <= 15


@pytest.mark.parametrize("values", [Binary(), UniformValues()], ids=lambda v: v.name)
def test_it_is_right_on_constructions_it_was_not_tuned_on(values):
    chosen = [c for c in CONSTRUCTIONS if c.name in ("two tiers", "bimodal without LN", "bimodal, equal amplitudes")]
    for proof in prove(sizes=SIZES[1:2], values=[values], constructions=chosen):
        assert proof.right, (proof.construction.name, proof.verdict.predictions)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", SIZES)
@pytest.mark.parametrize("values", VALUES, ids=lambda v: v.name)
def test_it_is_right_on_every_construction(hidden, values):
    for proof in prove(sizes=[hidden], values=[values]):
        assert proof.right, (proof.construction.name, proof.verdict.predictions)
