"""P1: the numbers of its docstring simulated, its scores by hand, its percentiles against a null drawn here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from toymodels import Bottleneck, LayerNorm, Linear, ReLU, SoLU
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.predictions import p1_bimodal
from toymodels.hypotheses.statistics.dip import dip, expected_of_normals, p_values
from toymodels.hypotheses.tiers import alignment_percentile
from toymodels.metrics.rotation_null import DRAWS


def test_the_shares_its_docstring_gives():
    """40 features, 12 of them above all but .1 % of the null: found in percentiles and in normal scores, at 5 %."""
    rng = np.random.default_rng(8)
    null = rng.random((2000, 40))
    tiers = null.copy()
    tiers[:, :12] = 0.999 + 0.001 * rng.random((2000, 12))

    def found(percent: np.ndarray) -> list[float]:
        percentile = torch.from_numpy(100 * percent)
        scores = p1_bimodal.normal_scores(percentile, torch.ones_like(percentile, dtype=torch.bool))
        return [float((p_values(x) < 0.05).double().mean()) for x in (percentile, scores)]

    assert found(tiers) == pytest.approx([0.15, 0.99], abs=0.03)
    assert found(null) == pytest.approx([0.04, 0.003], abs=0.015)


def test_normal_scores_are_quantiles_clipped_where_the_null_ends():
    percentile = torch.tensor([[0.0, 50.0, 97.5, 100.0, 99.0, torch.nan]])
    recovered = torch.tensor([[True, True, True, True, False, True]])
    z = p1_bimodal.normal_scores(percentile, recovered)[0]
    edge = norm.isf(0.5 / (DRAWS * 6))
    assert z[:4].numpy() == pytest.approx([-edge, 0.0, norm.ppf(0.975), edge], abs=1e-5)
    assert z[4:].isnan().all()


def test_the_statistic_is_its_dip_beyond_chance_minus_each_controls():
    rng = np.random.default_rng(1)
    measured = {name: {"percentile": torch.from_numpy(100 * rng.random((6, 15)))} for name in (MAIN, "gelu + LN", "b")}
    recovered = {name: torch.from_numpy(rng.random((6, 15)) < 0.7) for name in measured}
    recovered["b"][0] = False
    recovered["b"][0, :3] = True  # three features have no modes to count
    found = p1_bimodal.statistic(measured, recovered)
    assert found.shape == (6, 2)
    for seed in range(6):
        beyond = {}
        for name in measured:
            chosen = measured[name]["percentile"][seed][recovered[name][seed]].numpy() / 100
            by_chance = expected_of_normals(len(chosen))
            beyond[name] = dip(torch.from_numpy(norm.ppf(chosen))[None]).item() - by_chance
        assert found[seed, 0].item() == pytest.approx(beyond[MAIN] - beyond["gelu + LN"], abs=1e-6)
        if seed == 0:
            assert found[seed, 1].isnan()
        else:
            assert found[seed, 1].item() == pytest.approx(beyond[MAIN] - beyond["b"], abs=1e-6)


def test_without_four_recovered_features_of_its_own_there_is_no_statistic():
    percentile = torch.linspace(5, 95, 8).expand(3, -1)
    measured = {MAIN: {"percentile": percentile}, "gelu + LN": {"percentile": percentile}}
    place = torch.arange(8).expand(3, -1)
    recovered = {MAIN: place < torch.tensor([[0], [3], [4]]), "gelu + LN": place < 8}
    assert p1_bimodal.statistic(measured, recovered).isfinite().tolist() == [[False], [False], [True]]


@pytest.mark.parametrize("own, control", [(20, 40), (40, 20), (6, 40)])
def test_how_many_features_an_arm_recovers_does_not_matter(own, control):
    """Both arms are like their null; one recovers more features, and so has the smaller dip."""
    rng, seeds = np.random.default_rng([own, control]), 3000
    measured = {name: {"percentile": torch.from_numpy(100 * rng.random((seeds, 40)))} for name in (MAIN, "gelu + LN")}
    place = torch.arange(40).expand(seeds, -1)
    recovered = {MAIN: place < own, "gelu + LN": place < control}
    assert p1_bimodal.statistic(measured, recovered).mean().item() == pytest.approx(0, abs=0.003)
    raw = {name: dip(p1_bimodal.normal_scores(m["percentile"], recovered[name])).mean() for name, m in measured.items()}
    assert abs(raw[MAIN] - raw["gelu + LN"]).item() > p1_bimodal.Bimodal.margin  # else there is nothing to take off


@pytest.mark.parametrize("activation", [SoLU(), ReLU()])
def test_percentiles_are_places_among_rotated_models(make_arm, activation):
    """Against rotations drawn here, by QR with NumPy's normals, the activation applied after the rotation."""
    bottleneck = Bottleneck(5, activation, LayerNorm(), Linear(), hidden_bias=True)
    arm = make_arm(bottleneck, models=2, n=6)
    arm.parameters.W_in[:, 1:, 0] *= 0.02  # one feature in one neuron, to have one beyond the null
    found = alignment_percentile(arm)
    rng = np.random.default_rng(0)
    for model in range(2):
        assert arm.parameters.b_in is not None
        W, b = arm.parameters.W_in[model], arm.parameters.b_in[model]

        def alignment(W, b=b):
            delta = (activation(W * 0.5 + b[:, None], dim=0) - activation(b[:, None], dim=0)).abs()
            return delta.amax(0) / delta.sum(0)

        null = []
        for _ in range(3000):
            q, r = np.linalg.qr(rng.standard_normal((5, 5)))
            null.append(alignment(torch.from_numpy(q * np.sign(np.diag(r))).float() @ W))
        pooled = torch.cat(null)
        pooled = pooled[~pooled.isnan()]
        expected = (pooled[None] < alignment(W)[:, None]).double().mean(1) * 100
        assert found[model].numpy() == pytest.approx(expected.numpy(), abs=4)


def test_a_feature_that_nothing_responds_to_has_no_percentile_and_no_score(make_arm):
    arm = make_arm(Bottleneck(5, SoLU(), LayerNorm(), Linear()), n=6)
    arm.parameters.W_in[:, :, 2] = 0
    percentile = alignment_percentile(arm)
    assert percentile[:, 2].isnan().all()
    assert percentile[:, [0, 1, 3, 4, 5]].isfinite().all()
    z = p1_bimodal.normal_scores(percentile, torch.ones(2, 6, dtype=torch.bool))
    assert z[:, 2].isnan().all()


def test_its_own_p_is_that_of_its_dip():
    percentile = torch.cat([torch.linspace(20, 40, 20), torch.linspace(99.99, 100, 20)])[None]
    p = p1_bimodal.dip_p_values({"percentile": percentile}, torch.ones(1, 40, dtype=torch.bool))
    assert p.item() == pytest.approx(1 / 2001)
