"""P3: effects alone and in company by running the models on e_i, e_j and e_i + e_j, and gating by hand."""

from __future__ import annotations

import pytest
import torch

from toymodels import (
    Binary,
    Bottleneck,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    UniformValues,
    forward,
)
from toymodels.hypotheses.arms import MAIN, Arm
from toymodels.hypotheses.predictions import p3_gated

N = 7
SHAPES = {
    "solu+LN, untied, hidden bias": Bottleneck(6, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "solu+LN, tied, ReLU output": Bottleneck(5, SoLU(), LayerNorm(1e-3, affine=False), ReLU()),
    "gelu, tied, hidden bias": Bottleneck(4, GeLU(), None, ReLU(), hidden_bias=True),
    "relu+LN, no output bias": Bottleneck(5, ReLU(), LayerNorm(), Linear(), output_bias=False),
}


@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
@pytest.mark.parametrize("bottleneck", SHAPES.values(), ids=SHAPES.keys())
def test_every_pair_is_what_forward_reads_out(make_arm, bottleneck, values):
    arm = make_arm(bottleneck, values, n=N)
    measured = p3_gated.effects(arm)
    found = measured["gated"]
    parameters = arm.parameters.to("cpu", torch.float64)
    size = 0.5 if isinstance(values, UniformValues) else 1.0
    x = torch.zeros(2, N, 1 + N + N * N, dtype=torch.float64)
    for i in range(N):
        x[:, i, 1 + i] = size
        for j in range(N):
            x[:, i, 1 + N + i * N + j] = x[:, j, 1 + N + i * N + j] = size
    readout = forward(bottleneck, parameters, x).readout
    small = 0
    for model in range(2):
        for i in range(N):
            alone = (readout[model, i, 1 + i] - readout[model, i, 0]).item()
            assert measured["alone"][model, i].item() == pytest.approx(alone, rel=1e-3, abs=1e-5)
            for j in range(N):
                if i == j or abs(alone) < 0.05:
                    small += i != j
                    assert found[model, i, j].isnan()
                    continue
                company = (readout[model, i, 1 + N + i * N + j] - readout[model, i, 1 + j]).item()
                assert found[model, i, j].item() == pytest.approx(1 - company / alone, rel=1e-3, abs=1e-3)
    assert small < 2 * N * N / 2


@pytest.mark.parametrize("name", ["solu+LN, untied, hidden bias", "relu+LN, no output bias"])
def test_signed_features_are_gated_by_the_mean_over_both_sides_of_both(make_arm, name):
    bottleneck = SHAPES[name]
    arm = make_arm(bottleneck, n=N, signed=True)
    measured = p3_gated.effects(arm)
    parameters = arm.parameters.to("cpu", torch.float64)

    def read(model: int, **present: float) -> torch.Tensor:
        x = torch.zeros(1, N, 1, dtype=torch.float64)
        for feature, value in present.items():
            x[0, int(feature[1:]), 0] = value
        return forward(bottleneck, parameters[model : model + 1], x).readout[0, :, 0]

    compared = 0
    for model in range(2):
        for i in range(N):
            alone = {side: (read(model, **{f"f{i}": side}) - read(model))[i].item() for side in (0.5, -0.5)}
            weaker = min(alone.values(), key=abs)
            assert measured["alone"][model, i].item() == pytest.approx(weaker, rel=1e-3, abs=1e-5)
            for j in range(N):
                if i == j or abs(weaker) < 0.05:
                    assert measured["gated"][model, i, j].isnan()
                    continue
                shares = [
                    1 - (read(model, **{f"f{i}": a, f"f{j}": b}) - read(model, **{f"f{j}": b}))[i].item() / alone[a]
                    for a in (0.5, -0.5)
                    for b in (0.5, -0.5)
                ]
                assert measured["gated"][model, i, j].item() == pytest.approx(sum(shares) / 4, rel=1e-3, abs=1e-3)
                compared += 1
    assert compared > N


def test_a_signed_feature_with_one_side_below_a_twentieth_is_left_out():
    """ReLU neurons 0 and 1 read feature 0 by .06 upwards and .04 downwards, neuron 2 feature 1 upwards only."""
    e = Experiment(Features(2, 0.1, values=Binary(), signed=True), Bottleneck(4, ReLU(), None, Linear(), tied=False))
    W_in = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    for down, counted in ((-0.04, False), (-0.06, True)):
        W_out = torch.tensor([[[0.06, down, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]])
        measured = p3_gated.effects(Arm([e], Parameters(W_in=W_in, W_out=W_out)))
        assert measured["gated"][0, 0, 1].isfinite().item() is counted
        assert measured["gated"][0, 1, 0].item() == 0
    assert measured["alone"][0].abs().tolist() == pytest.approx([0.06, 1])


def test_effects_below_a_twentieth_are_left_out():
    bottleneck = Bottleneck(4, Linear(), None, Linear(), tied=False)
    e = Experiment(Features(4, 0.1, values=Binary()), bottleneck)
    effects = torch.tensor([0.049, 0.051, -0.049, -0.051])
    arm = Arm([e], Parameters(W_in=torch.eye(4)[None], W_out=torch.diag(effects)[None]))
    measured = p3_gated.effects(arm)
    assert measured["gated"][0].isnan().all(1).tolist() == [True, False, True, False]
    assert torch.equal(measured["alone"][0], effects)


def test_a_linear_model_gates_nothing(make_arm):
    arm = make_arm(Bottleneck(5, Linear(), None, ReLU(), tied=False, hidden_bias=True), Binary(), n=N)
    gated = p3_gated.effects(arm)["gated"]
    assert gated.isfinite().any()
    assert gated[gated.isfinite()].abs().max() < 1e-4
    one = (torch.arange(N) < 3).expand(2, -1)
    assert p3_gated.gating(gated, one, ~one, torch.ones_like(one)).abs().max() < 1e-4


def test_gating_by_hand():
    nan = torch.nan
    gated = torch.tensor([[[nan, 9.0, 0.2, 0.4], [9.0, nan, 0.6, nan], [0.9, 0.7, nan, 9.0], [nan, nan, nan, nan]]])
    one = torch.tensor([[True, True, False, False]])
    every = torch.ones_like(one)
    # small by large: (.9 + .7) / 2; large by small: (.2 + .4 + .6) / 3.
    assert p3_gated.gating(gated, one, ~one, every).item() == pytest.approx(0.8 - 0.4)
    # Gated by oneself in the same tier does not count; which is gated by which does.
    assert p3_gated.gating(gated, ~one, one, every).item() == pytest.approx(0.4 - 0.8)
    assert p3_gated.gating(gated, one, torch.zeros_like(one), every).isnan().all()


def test_what_is_not_counted_is_not_gated_but_gates():
    """|a_i| small makes a_ij / a_i unsure, as to i; as company it is like any other."""
    gated = torch.tensor([[[torch.nan, 9.0, 0.2, 0.4], [9.0, torch.nan, 0.6, 0.8], [0.9, 0.7, 9.0, 9.0], [0.1] * 4]])
    one = torch.tensor([[True, True, False, False]])
    # Feature 0 is not counted: large by small is (.6 + .8) / 2; small by large still has it as company.
    found = p3_gated.gating(gated, one, ~one, torch.tensor([[False, True, True, True]]))
    assert found.item() == pytest.approx((0.9 + 0.7 + 0.1 + 0.1) / 4 - 0.7)
    found = p3_gated.gating(gated, one, ~one, torch.tensor([[True, True, True, False]]))
    assert found.item() == pytest.approx((0.9 + 0.7) / 2 - (0.2 + 0.4 + 0.6 + 0.8) / 4)
    assert p3_gated.gating(gated, one, ~one, one).isnan().all()  # of tier two nothing is left


def test_the_statistic_is_beyond_each_control():
    one = torch.tensor([[True, False]])

    def of(small_by_large, large_by_small):
        gated = torch.tensor([[[torch.nan, large_by_small], [small_by_large, torch.nan]]])
        return {"gated": gated, "alone": torch.ones(1, 2)}

    measured = {"gelu + LN": of(0.5, 0.2), MAIN: of(0.9, 0.1), "linear + LN": of(0.6, 0.5)}
    found = p3_gated.statistic(measured, one, ~one)
    assert found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx([0.8 - 0.3, 0.8 - 0.1])


def rows(own, alone):
    """Feature i is gated by ``own[i]`` in any company."""
    n = len(own)
    gated = torch.tensor(own)[None, :, None].expand(1, n, n).clone()
    gated[:, torch.tensor(alone).abs() < p3_gated.SMALLEST] = torch.nan
    return {"gated": gated, "alone": torch.tensor([alone])}


ONE = torch.tensor([[True, True, False, False, False, False]])
TWO = torch.tensor([[False, False, True, True, True, False]])
PAIRED = {
    MAIN: rows([0.1, 0.3, 0.9, 0.6, 0.3, 9.0], [1.0, -1.0, 0.06, 1.0, -0.05, 0.0]),
    # Feature 2 is small here: beyond this control it does not count in SoLU + LN either.
    "gelu + LN": rows([0.1, 0.1, 7.0, 0.2, 0.1, 9.0], [1.0, 1.0, -0.04, 0.5, 0.5, 0.0]),
    "relu + LN": rows([0.0, 7.0, 0.4, 0.4, 0.1, 9.0], [1.0, 0.0, 0.5, 0.5, -0.5, 1.0]),
}


def test_each_control_is_compared_over_features_of_enough_effect_in_both():
    found = p3_gated.statistic(PAIRED, ONE, TWO)
    own, control = (0.6 + 0.3) / 2 - (0.1 + 0.3) / 2, (0.2 + 0.1) / 2 - 0.1
    assert found[0, 0].item() == pytest.approx(own - control)
    own, control = (0.9 + 0.6 + 0.3) / 3 - 0.1, (0.4 + 0.4 + 0.1) / 3 - 0.0
    assert found[0, 1].item() == pytest.approx(own - control)
    # A tier of which one control leaves nothing is undefined beyond that one only.
    first = torch.zeros_like(TWO)
    first[0, 2] = True
    assert p3_gated.statistic(PAIRED, ONE, first).isnan().tolist() == [[True, False]]


def test_features_of_the_tiers_that_are_small_in_any_arm_are_counted_as_left_out():
    assert p3_gated.left_out(PAIRED, ONE, TWO).tolist() == [2]  # 1 and 2; the last is in no tier, .05 is enough
    assert p3_gated.left_out({MAIN: PAIRED[MAIN]}, ONE, TWO).tolist() == [0]
    assert p3_gated.left_out(PAIRED, ONE, ~ONE).tolist() == [3]
