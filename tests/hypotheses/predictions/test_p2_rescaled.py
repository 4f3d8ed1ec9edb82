"""P2: the effect of a feature by running the models with it switched off, and the statistic by hand."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels import Binary, Bottleneck, GeLU, LayerNorm, Linear, ReLU, SoLU, UniformValues
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.predictions import p2_rescaled
from toymodels.surgery import Switched, operate
from toymodels.training.experiment import sampler

SHAPES = {
    "solu+LN, gain and bias, hidden bias": Bottleneck(6, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "gelu+LN, tied, no gain": Bottleneck(5, GeLU(), LayerNorm(1e-3, affine=False), ReLU()),
    "relu+LN at eps 1e-12": Bottleneck(5, ReLU(), LayerNorm(1e-12), Linear(), hidden_bias=True),
    "gelu, no LN": Bottleneck(4, GeLU(), None, Linear(), output_bias=False),
}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
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
            change = (getattr(live, tap) - getattr(off, tap)).square().sum(1).sqrt()
            for model in range(2):
                on = (x[model, i] != 0).nonzero()[:, 0]
                assert len(on) > p2_rescaled.EXAMPLES
                expected = change[model, on[: p2_rescaled.EXAMPLES]].mean().item()
                assert found[tap][model, i].item() == pytest.approx(expected, rel=2e-4)


def test_without_norm_the_taps_are_one(make_arm):
    found = p2_rescaled.changes(make_arm(SHAPES["gelu, no LN"]), 0, 512)
    assert torch.equal(found["mid"], found["post"])


def test_a_feature_never_active_is_undefined_and_spoils_no_tier(make_arm):
    arm = make_arm(SHAPES["gelu+LN, tied, no gain"], density=1e-9)
    found = p2_rescaled.changes(arm, 0, 256)
    assert all(r.isnan().all() for r in found.values())
    tier = torch.tensor([[True, False, True], [False, True, False]])
    r = {"mid": torch.tensor([[1.0, 0.5, math.nan]]), "post": torch.tensor([[1.0, 1.0, math.nan]])}
    flat = {"mid": torch.ones(1, 3), "post": torch.ones(1, 3)}
    found = p2_rescaled.statistic({MAIN: r, "gelu + LN": flat}, tier[:1], tier[1:])
    assert found.item() == pytest.approx(math.log(2))


def test_the_statistic_by_hand():
    one = torch.tensor([[True, True, False, False, False]])
    two = torch.tensor([[False, False, True, True, False]])
    measured = {
        # rho(mid) = .2 / 2, rho(post) = 1 / 2: log 5
        MAIN: {"mid": torch.tensor([[1.0, 3.0, 0.1, 0.3, 9.0]]), "post": torch.tensor([[2.0, 2.0, 1.5, 0.5, 9.0]])},
        "gelu + LN": {
            "mid": torch.tensor([[1.0, 1.0, 0.5, 0.5, 9.0]]),
            "post": torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]),
        },
        "relu + LN": {
            "mid": torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]]),
            "post": torch.tensor([[1.0, 1.0, 0.1, 0.1, 0.0]]),
        },
    }
    found = p2_rescaled.statistic(measured, one, two)
    assert found.shape == (1, 2)
    assert found[0].tolist() == pytest.approx([math.log(5) - math.log(2), math.log(5) - math.log(0.1)])
    assert p2_rescaled.statistic(measured, one, torch.zeros_like(two)).isnan().all()
