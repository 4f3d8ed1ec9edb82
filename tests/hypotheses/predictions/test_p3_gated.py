"""P3: effects alone and in company by running models on e_i, e_j and e_i + e_j; models made with and without a gate."""

from __future__ import annotations

import itertools

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
from toymodels.hosts import Models
from toymodels.hypotheses.predictions import p3_gated
from toymodels.hypotheses.predictions.p3_gated import BOTH_WAYS, GATING, IN_COMPANY, MATCHED, Gated
from toymodels.surgery import refit
from toymodels.training.experiment import sampler

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
        measured = p3_gated.effects(Models([e], Parameters(W_in=W_in, W_out=W_out)))
        assert measured["gated"][0, 0, 1].isfinite().item() is counted
        assert measured["gated"][0, 1, 0].item() == 0
    assert measured["alone"][0].abs().tolist() == pytest.approx([0.06, 1])


def test_effects_below_a_twentieth_are_left_out():
    bottleneck = Bottleneck(4, Linear(), None, Linear(), tied=False)
    e = Experiment(Features(4, 0.1, values=Binary()), bottleneck)
    effects = torch.tensor([0.049, 0.051, -0.049, -0.051])
    arm = Models([e], Parameters(W_in=torch.eye(4)[None], W_out=torch.diag(effects)[None]))
    measured = p3_gated.effects(arm)
    assert measured["gated"][0].isnan().all(1).tolist() == [True, False, True, False]
    assert torch.equal(measured["alone"][0], effects)


def test_a_linear_model_gates_nothing(make_arm):
    arm = make_arm(Bottleneck(5, Linear(), None, ReLU(), tied=False, hidden_bias=True), Binary(), n=N)
    gated = p3_gated.effects(arm)["gated"]
    assert gated.isfinite().any()
    assert gated[gated.isfinite()].abs().max() < 1e-4
    one = (torch.arange(N) < 3).expand(2, -1)
    assert p3_gated.gating(gated, one, ~one).abs().max() < 1e-4


def test_gating_by_hand():
    nan = torch.nan
    gated = torch.tensor([[[nan, 9.0, 0.2, 0.4], [9.0, nan, 0.6, nan], [0.9, 0.7, nan, 9.0], [nan, nan, nan, nan]]])
    one = torch.tensor([[True, True, False, False]])
    # hidden by neuron: (.9 + .7) / 2; neuron by hidden: (.2 + .4 + .6) / 3.
    assert p3_gated.gating(gated, one, ~one).item() == pytest.approx(0.8 - 0.4)
    # Gated by oneself in the same tier does not count; which is gated by which does.
    assert p3_gated.gating(gated, ~one, one).item() == pytest.approx(0.4 - 0.8)
    assert p3_gated.gating(gated, one, torch.zeros_like(one)).isnan().all()
    gated[0, 2] = nan  # of the hidden tier nothing is left
    assert p3_gated.gating(gated, one, ~one).isnan().all()


def test_features_of_the_tiers_with_too_small_an_effect_are_counted_as_left_out():
    alone = {"alone": torch.tensor([[1.0, -0.04, 0.06, 0.05, -0.05, 0.0]])}
    in_a_tier = torch.tensor([[True, True, True, True, True, False]])
    assert p3_gated.left_out(alone, in_a_tier).tolist() == [1]  # .05 is enough, and the last is in no tier
    assert p3_gated.left_out(alone, ~in_a_tier).tolist() == [1]


N_MADE = 8
ONE, TWO = torch.arange(N_MADE)[None] < 3, torch.arange(N_MADE)[None] >= 3


def made(activation, layer_norm, small, split):
    """Three features large in a neuron each and five ``small`` ones, read out by the best linear map of the data."""
    bottleneck = Bottleneck(10, activation, layer_norm, Linear(), tied=False)
    columns = torch.zeros(10, N_MADE)
    columns[[0, 1, 2], [0, 1, 2]] = 4.0
    columns[3:8, 3:] = small * torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
    e = Experiment(Features(N_MADE, 0.1, values=Binary()), bottleneck)
    eps = {} if layer_norm is None else {"ln_eps": torch.full((1,), 1e-5, dtype=torch.float64)}
    raw = Parameters(W_in=columns[None], W_out=columns.T[None], b_out=torch.zeros(1, N_MADE), **eps)
    arm = Models([e], refit(Models([e], raw)).parameters.to("cpu", torch.float32))
    return arm, Gated().measure(arm, split(arm, 16384))


def test_a_gate_is_found_in_solu_with_norm(split, make_tiers):
    _, measured = made(SoLU(), LayerNorm(affine=False), 1.5, split)
    found = Gated().of_arm(measured, make_tiers(ONE, TWO))
    for kind in (GATING, MATCHED, BOTH_WAYS):
        assert found[kind].item() > Gated().margin_of(kind), kind
    turned = Gated().of_arm(measured, make_tiers(TWO, ONE))
    for kind in (GATING, BOTH_WAYS):  # the other way round, where the tiers change their names
        assert turned[kind].item() == pytest.approx(-found[kind].item(), abs=1e-6)


def company(error):
    """What P3 is told of errors made by hand, of eight binary features in every combination there is, five times."""
    present = torch.tensor(list(itertools.product([False, True], repeat=N_MADE))).T.repeat(1, 5)
    u = [(present & of.T).sum(0) - (present & of.T).long() for of in (ONE, TWO)]
    observed = {"squared_error": error(*u)[None].float(), "target": present[None].float(), "present": present[None]}
    observed["crowd"] = present.sum(0)[None]
    never = {"gated": torch.zeros(1, N_MADE, N_MADE), "alone": torch.ones(1, N_MADE)}
    return observed | never


def test_matched_company_by_hand(make_tiers):
    """A gate of tier two of size .4; company that costs everybody the same; and tiers that each hurt themselves."""
    kinds = {
        "gate": (lambda u, v: 0.02 * (u + v) + 0.1 * (TWO.T & (u > 0)), (0.4, 0.4)),
        "crowd": (lambda u, v: 0.02 * (u + v), (0.0, 0.0)),
        "a gate for all": (lambda u, v: 0.02 * (u + v) + 0.1 * (u > 0), (0.0, None)),
        "each itself": (lambda u, v: 0.1 * torch.where(TWO.T, v > 0, u > 0), (None, None)),
    }
    found = {}
    for name, (error, expected) in kinds.items():
        of = found[name] = Gated().of_arm(company(error), make_tiers(ONE, TWO))
        for kind, value in zip((MATCHED, BOTH_WAYS), expected, strict=True):
            if value is not None:
                assert of[kind].item() == pytest.approx(value, abs=1e-5), (name, kind)
    assert found["each itself"][MATCHED].item() < -Gated.margins[MATCHED]


def test_tiers_asked_together_are_those_asked_alone(make_tiers):
    measured = company(lambda u, v: 0.02 * (u + v) + 0.1 * (TWO.T & (u > 0)))
    measured["gated"] = torch.arange(float(N_MADE * N_MADE)).view(1, N_MADE, N_MADE)
    tiers = [make_tiers(ONE, TWO), make_tiers(TWO, ONE), make_tiers(ONE, TWO), make_tiers(ONE, ONE & False)]
    found = Gated().of_arm_for_each(measured, tiers)
    assert len({of[GATING].item() for of in found[:2]}) == len({of[MATCHED].item() for of in found[:2]}) == 2
    for of, each in zip(found, tiers, strict=True):
        torch.testing.assert_close(of, dict(Gated().of_arm(measured, each)), rtol=0, atol=0, equal_nan=True)


def test_a_linear_layer_has_no_gate(split, make_tiers):
    _, measured = made(Linear(), None, 1.5, split)
    found = Gated().of_arm(measured, make_tiers(ONE, TWO))
    assert abs(found[GATING].item()) < 1e-3
    assert abs(found[MATCHED].item()) < Gated.margins[MATCHED] / 2


def test_a_tier_without_features_is_undefined(split, make_tiers):
    _, measured = made(SoLU(), LayerNorm(affine=False), 1.5, split)
    none = torch.zeros_like(ONE)
    for neuron, hidden in ((none, TWO), (ONE, none)):
        assert all(value.isnan().all() for value in Gated().of_arm(measured, make_tiers(neuron, hidden)).values())


def test_columns_are_effects_and_what_company_leaves(split, make_tiers):
    arm, measured = made(SoLU(), LayerNorm(affine=False), 1.5, split)
    found = Gated().evidence_columns(measured, make_tiers(ONE, TWO))
    assert set(found) == set(Gated.columns)
    samples = split(arm, 16384)
    x = sampler(arm.experiments).evaluation(samples.middle, samples.last - samples.middle)
    error = (x - forward(arm.experiments[0].bottleneck, arm.parameters, x).out).square()[0]
    for i in (0, 5):
        others = (x[0] * (ONE.T & (torch.arange(N_MADE) != i)[:, None])).sum(0)
        for k, column in enumerate(IN_COMPANY):
            where = others >= 3 if k == 3 else others == k
            t, e = x[0, i, where].double().numpy(), error[i, where].double().numpy()
            r2 = 1 - e.mean() / t.var() if t.sum() >= 5 else float("nan")
            assert found[column][0, i].item() == pytest.approx(r2, rel=1e-4, abs=1e-5, nan_ok=True)
