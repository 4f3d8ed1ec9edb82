"""Labels and bases that mean nothing: *supported* in at most 15 of 200 at delta = 0 (SCIENCE.md, section 6)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels import Binary
from toymodels.bottleneck import Parameters
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions import p1_bimodal, p2_rescaled, p3_gated, p4_needs_norm
from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers
from toymodels.metrics.alignment import response_alignment
from toymodels.metrics.responses import response_sizes_of
from toymodels.metrics.rotation_null import rotation_nulls_of

REPEATS, MOST = 200, 15
HIDDEN, SEEDS = 16, range(8)


@pytest.fixture(scope="module", params=[CONSTRUCTIONS[0], CONSTRUCTIONS[5]], ids=lambda c: c.name)
def evidence(request):
    return gather(regime(request.param, HIDDEN, Binary(), SEEDS, "1e-05"), "1e-05", 8192)


def supported(values) -> bool:
    if (values.nanmean(0) < 0).any() and values.isfinite().all():
        return False  # below 0 p is far from small: not worth resampling
    return from_seeds("", values, 0.0).p_above < 0.025


def counts(evidence, controls=None) -> dict[str, int]:
    tiers, rng = Tiers.of(evidence, AnalysisSetting("1e-05")), np.random.default_rng(21)
    arms = {name: arm for name, arm in evidence.with_norm.items() if name == MAIN or not controls or name in controls}
    part = {key: {name: arm[key] for name, arm in arms.items()} for key in ("P2", "P3", "P4")}
    found: dict[str, int] = {kind: 0 for kind in ("P2", "P3", *p4_needs_norm.DECISIVE)}  # noqa: C420
    for _ in range(REPEATS):
        neuron = torch.zeros_like(tiers.neuron)
        for model, recovered in enumerate((tiers.neuron | tiers.hidden).numpy()):
            places = np.flatnonzero(recovered)
            neuron[model, rng.choice(places, int(tiers.neuron[model].sum()), replace=False)] = True
        hidden = (tiers.neuron | tiers.hidden) & ~neuron
        found["P2"] += supported(p2_rescaled.statistic(part["P2"], neuron, hidden))
        found["P3"] += supported(p3_gated.statistic(part["P3"], neuron, hidden))
        for kind in p4_needs_norm.DECISIVE:
            found[kind] += supported(p4_needs_norm.statistic(part["P4"], kind, neuron, hidden))
    return found


def test_labels_without_meaning_are_rarely_supported(evidence):
    found = counts(evidence)
    assert max(found.values()) <= MOST, found


def test_nor_beyond_one_control_alone(evidence):
    """Beyond three it must be supported three times; beyond one, once."""
    found = counts(evidence, ["gelu + LN"])
    assert max(found.values()) <= MOST, found


def rotated_counts(controls=None) -> int:
    """Each arm's W_in freshly rotated in every repeat; its null is drawn once, as a rotated model has the same."""
    of, rng = regime(CONSTRUCTIONS[0], HIDDEN, Binary(), SEEDS, "1e-05"), np.random.default_rng(22)
    arms = {name: of.arms[name] for name in (MAIN, *(controls or of.controls))}
    parts = {}
    for name, arm in arms.items():
        null = rotation_nulls_of(arm.experiments, arm.parameters)["response_alignment"]
        parts[name] = (arm.experiments, arm.parameters.W_in, null)
    found = 0
    recovered = {name: torch.ones(len(SEEDS), HIDDEN, dtype=torch.bool) for name in arms}
    for _ in range(REPEATS):
        measured = {}
        for name, (experiments, W, null) in parts.items():
            q, r = np.linalg.qr(rng.standard_normal((len(SEEDS), HIDDEN, HIDDEN)))
            Q = torch.from_numpy(q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]).to(W)
            alignment = response_alignment(response_sizes_of(experiments, Parameters(W_in=Q @ W)))
            measured[name] = {"percentile": null.percentile(alignment)}
        found += supported(p1_bimodal.statistic(measured, recovered))
    return found


@pytest.mark.parametrize("controls", [None, ["gelu + LN"]], ids=["three controls", "one"])
def test_a_basis_without_meaning_is_rarely_bimodal(controls):
    assert rotated_counts(controls) <= MOST
