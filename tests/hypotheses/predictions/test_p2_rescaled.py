"""P2: the effect of a feature by running the models with it switched off, and the statistics by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toymodels import Binary, Bottleneck, Experiment, Features, GeLU, LayerNorm, Linear, Parameters, ReLU, SoLU
from toymodels import UniformValues as Uniform
from toymodels.hosts import Models
from toymodels.hypotheses.predictions import p2_rescaled
from toymodels.hypotheses.predictions.p2_rescaled import RESCALED, SUPPRESSED, Rescaled
from toymodels.surgery import Switched, operate
from toymodels.training.experiment import sampler

SHAPES = {
    "solu+LN, gain and bias, hidden bias": Bottleneck(6, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "gelu+LN, tied, no gain": Bottleneck(5, GeLU(), LayerNorm(1e-3, affine=False), ReLU()),
    "relu+LN at eps 1e-12": Bottleneck(5, ReLU(), LayerNorm(1e-12), Linear(), hidden_bias=True),
    "gelu, no LN": Bottleneck(4, GeLU(), None, Linear(), output_bias=False),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", [Uniform(), Binary()], ids=lambda v: v.name)
@pytest.mark.parametrize("bottleneck", SHAPES.values(), ids=SHAPES.keys())
def test_it_is_what_switching_a_feature_off_changes(make_arm, bottleneck, values, signed):
    arm = make_arm(bottleneck, values, n=7, density=0.3, signed=signed)
    first, last = 512, 3072  # some 770 active examples a feature: more than are used
    found = p2_rescaled.changes(arm, first, last)
    double = arm.parameters.to("cpu", torch.float64)
    x = sampler(arm.experiments).evaluation(first, last - first).double()
    live = operate(bottleneck, double, x)
    for i in range(7):
        off = operate(bottleneck, double, x, Switched([i]))
        for tap in ("mid", "post"):
            change = (getattr(live, tap) - getattr(off, tap)).numpy()
            if tap == "mid" and bottleneck.layer_norm is not None:
                change = change - change.mean(1, keepdims=True)
            size = np.sqrt((change**2).sum(1))
            for model in range(2):
                on = np.flatnonzero(x[model, i] != 0)
                assert len(on) > p2_rescaled.EXAMPLES
                expected = size[model, on[: p2_rescaled.EXAMPLES]].mean()
                assert found[tap][model, i].item() == pytest.approx(expected, rel=2e-4)


def test_without_norm_the_taps_are_one(make_arm):
    found = p2_rescaled.changes(make_arm(SHAPES["gelu, no LN"]), 0, 512)
    assert torch.equal(found["mid"], found["post"])


def said(mid, post, neuron, hidden, make_tiers):
    measured = {"mid": torch.tensor(mid), "post": torch.tensor(post)}
    found = Rescaled().of_arm(measured, make_tiers(torch.tensor(neuron), torch.tensor(hidden)))
    return found[SUPPRESSED].tolist(), found[RESCALED].tolist()


ONE, TWO = [True, True, False, False, False], [False, False, True, True, False]


def test_the_statistics_by_hand(make_tiers):
    # rho(mid) = .2 / 2, rho(post) = 1 / 2; and the other way round: hidden ten times as far, and pushed apart.
    mid = [[1.0, 3.0, 0.1, 0.3, 9.0], [0.1, 0.3, 1.0, 3.0, 9.0]]
    post = [[2.0, 2.0, 1.5, 0.5, 9.0], [1.0, 1.0, 20.0, 20.0, 0.0]]
    suppressed, rescaled = said(mid, post, [ONE] * 2, [TWO] * 2, make_tiers)
    assert suppressed == pytest.approx([math.log(10), -math.log(10)])
    assert rescaled == pytest.approx([math.log(5), math.log(2)])
    _, rescaled = said(mid[:1], [[1.0, 3.0, 0.05, 0.15, 9.0]], [ONE], [TWO], make_tiers)
    assert rescaled == pytest.approx([-math.log(2)])


def test_a_tier_without_features_or_without_effect_is_undefined(make_tiers):
    ones, none = [[1.0] * 5], [False] * 5
    assert all(math.isnan(value) for kind in said(ones, ones, [ONE], [none], make_tiers) for value in kind)
    assert all(math.isnan(value) for kind in said(ones, ones, [none], [TWO], make_tiers) for value in kind)
    still = [[1.0, 1.0, 0.0, 0.0, 1.0]]
    assert all(math.isnan(value) for kind in said(still, ones, [ONE], [TWO], make_tiers) for value in kind)


def test_a_feature_never_active_is_undefined_and_spoils_no_tier(make_arm, make_tiers):
    arm = make_arm(SHAPES["gelu+LN, tied, no gain"], density=1e-9)
    assert all(r.isnan().all() for r in p2_rescaled.changes(arm, 0, 256).values())
    mid, post = [[1.0, 0.5, math.nan]], [[1.0, 1.0, math.nan]]
    suppressed, rescaled = said(mid, post, [[True, False, True]], [[False, True, False]], make_tiers)
    assert suppressed == rescaled == pytest.approx([math.log(2)])


def test_what_solu_suppresses_is_suppressed_and_what_it_does_not_is_not(split, make_tiers):
    """Three features large in a neuron each, four small ones: under SoLU + LN both are above their margins, with linear
    neurons LayerNorm rescales what is small but SoLU has suppressed nothing of; with one size neither is."""
    neuron = (torch.arange(7) < 3).expand(1, -1)

    def statistics(activation, small):
        bottleneck = Bottleneck(8, activation, LayerNorm(affine=False), Linear(), tied=False)
        columns = torch.zeros(8, 7)
        columns[[0, 1, 2], [0, 1, 2]] = 4.0
        columns[3:7, 3:] = small * torch.eye(4)
        e = Experiment(Features(7, 0.05, values=Binary()), bottleneck)
        eps = torch.full((1,), 1e-5, dtype=torch.float64)
        arm = Models([e], Parameters(W_in=columns[None], W_out=columns.T[None], b_out=torch.zeros(1, 7), ln_eps=eps))
        prediction = Rescaled()
        found = prediction.of_arm(prediction.measure(arm, split(arm)), make_tiers(neuron, ~neuron))
        return {kind: value.item() for kind, value in found.items()}

    solu, linear, alike = statistics(SoLU(), 1.5), statistics(Linear(), 1.5), statistics(SoLU(), 4.0)
    assert solu[SUPPRESSED] > linear[SUPPRESSED] + Rescaled.margin  # beyond 4 / 1.5 that the columns have
    assert solu[RESCALED] > linear[RESCALED] + Rescaled.margin > Rescaled.margin
    assert abs(alike[SUPPRESSED]) < 0.1
    assert abs(alike[RESCALED]) < 0.1
