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
from toymodels.hypotheses import p3_gated
from toymodels.hypotheses.arms import MAIN, Arm

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
    found = p3_gated.measure(arm)["gated"]
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
            for j in range(N):
                if i == j or abs(alone) < 0.05:
                    small += i != j
                    assert found[model, i, j].isnan()
                    continue
                company = (readout[model, i, 1 + N + i * N + j] - readout[model, i, 1 + j]).item()
                assert found[model, i, j].item() == pytest.approx(1 - company / alone, rel=1e-3, abs=1e-3)
    assert small < 2 * N * N / 2


def test_effects_below_a_twentieth_are_left_out():
    bottleneck = Bottleneck(4, Linear(), None, Linear(), tied=False)
    e = Experiment(Features(4, 0.1, values=Binary()), bottleneck)
    effects = torch.tensor([0.049, 0.051, -0.049, -0.051])
    arm = Arm([e], Parameters(W_in=torch.eye(4)[None], W_out=torch.diag(effects)[None]))
    left = p3_gated.measure(arm)["gated"][0].isnan().all(1)
    assert left.tolist() == [True, False, True, False]


def test_a_linear_model_gates_nothing(make_arm):
    arm = make_arm(Bottleneck(5, Linear(), None, ReLU(), tied=False, hidden_bias=True), Binary(), n=N)
    gated = p3_gated.measure(arm)["gated"]
    assert gated.isfinite().any()
    assert gated[gated.isfinite()].abs().max() < 1e-4
    one = (torch.arange(N) < 3).expand(2, -1)
    assert p3_gated.gating(gated, one, ~one).abs().max() < 1e-4


def test_gating_by_hand():
    nan = torch.nan
    gated = torch.tensor([[[nan, 9.0, 0.2, 0.4], [9.0, nan, 0.6, nan], [0.9, 0.7, nan, 9.0], [nan, nan, nan, nan]]])
    one = torch.tensor([[True, True, False, False]])
    # small by large: (.9 + .7) / 2; large by small: (.2 + .4 + .6) / 3.
    assert p3_gated.gating(gated, one, ~one).item() == pytest.approx(0.8 - 0.4)
    # Gated by oneself in the same tier does not count; which is gated by which does.
    assert p3_gated.gating(gated, ~one, one).item() == pytest.approx(0.4 - 0.8)
    assert p3_gated.gating(gated, one, torch.zeros_like(one)).isnan().all()


def test_the_statistic_is_beyond_the_largest_control():
    one = torch.tensor([[True, False]])

    def of(small_by_large, large_by_small):
        return {"gated": torch.tensor([[[torch.nan, large_by_small], [small_by_large, torch.nan]]])}

    measured = {MAIN: of(0.9, 0.1), "gelu + LN": of(0.5, 0.2), "linear + LN": of(0.6, 0.5)}
    assert p3_gated.statistic(measured, one, ~one).item() == pytest.approx(0.8 - 0.3)
