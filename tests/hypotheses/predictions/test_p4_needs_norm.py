"""P4: models with LayerNorm's scale held against `surgery`, and the drops computed the long way with NumPy."""

from __future__ import annotations

import numpy as np
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
from toymodels.hypotheses.predictions.p4_needs_norm import (
    AS_IT_IS,
    BESIDE,
    DECISIVE,
    NeedsNorm,
    drops,
    held,
    rescaled_r2,
)
from toymodels.metrics.moments import collect
from toymodels.surgery import FrozenNorm, KeepLargest, geometric_mean_scale, loss_optimal_scale, operate, refit
from toymodels.training.experiment import sampler

SHAPES = {
    "solu+LN, untied, hidden bias": Bottleneck(6, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True),
    "gelu+LN, tied, ReLU output": Bottleneck(5, GeLU(), LayerNorm(1e-3), ReLU()),
    "relu+LN, no gain, no output bias": Bottleneck(
        5, ReLU(), LayerNorm(affine=False), Linear(), output_bias=False, tied=False
    ),
    "linear+LN, tied, no gain": Bottleneck(4, Linear(), LayerNorm(1e-12, affine=False), ReLU(), hidden_bias=True),
}
each_shape = pytest.mark.parametrize("bottleneck", SHAPES.values(), ids=SHAPES.keys())
WITHOUT = Bottleneck(5, GeLU(), None, Linear(), hidden_bias=True)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@each_shape
def test_held_is_the_frozen_norm_of_surgery(make_arm, bottleneck, dtype, tolerance):
    arm = make_arm(bottleneck, dtype=dtype)
    scale = torch.tensor([0.7, 2.5], dtype=torch.float64)
    frozen = held(arm, scale)
    assert frozen.experiments[0].bottleneck.layer_norm is None
    assert [e.seed for e in frozen.experiments] == [0, 1]
    x = sampler(arm.experiments).evaluation(0, 512).to(dtype)
    ours = forward(frozen.experiments[0].bottleneck, frozen.parameters, x)
    theirs = operate(bottleneck, arm.parameters, x, FrozenNorm(scale))
    for tap in ("readout", "out"):
        size = theirs.readout.abs().max().item()
        torch.testing.assert_close(getattr(ours, tap), getattr(theirs, tap), rtol=0, atol=tolerance * max(1, size))


@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
def test_rescaled_r2_is_the_squared_correlation_where_it_is_positive(make_arm, values):
    bottleneck = SHAPES["solu+LN, untied, hidden bias"]
    arm = make_arm(bottleneck, values)
    x = sampler(arm.experiments).evaluation(0, 4096)
    y = forward(bottleneck, arm.parameters, x).out
    found = rescaled_r2(collect(arm, 4096))
    signs = set()
    for model in range(2):
        for i in range(9):
            correlation = np.corrcoef(x[model, i].numpy(), y[model, i].numpy())[0, 1]
            signs.add(correlation > 0)
            assert found[model, i].item() == pytest.approx(max(0.0, correlation) ** 2, abs=2e-5)
    assert signs == {True, False}


def test_a_sign_that_turns_loses_everything(make_arm):
    """corr is -1: as far as a square can tell, a perfect answer."""
    arm = make_arm(Bottleneck(9, Linear(), None, Linear(), tied=False))
    eye = torch.eye(9).expand(2, -1, -1)
    right, wrong = (
        rescaled_r2(collect(Models(arm.experiments, Parameters(W_in=eye, W_out=sign * eye)), 4096))
        for sign in (0.3, -0.3)
    )
    assert right.numpy() == pytest.approx(1, abs=1e-6)
    assert (wrong == 0).all()


@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
def test_a_held_scale_below_zero_leaves_exactly_what_was_lost(make_arm, values):
    """Every output is turned about its bias: what counted counts no more, and the other way round."""
    arm = make_arm(SHAPES["solu+LN, untied, hidden bias"], values)
    both = []
    for scale in (1.5, -1.5):
        frozen = held(arm, torch.full((2,), scale, dtype=torch.float64))
        both.append(rescaled_r2(collect(frozen, 4096)))
    assert torch.minimum(*both).max() == 0
    assert torch.maximum(*both).min() > 0
    assert all((of > 0.01).any() for of in both)


@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
@pytest.mark.parametrize("level", [0.0, 0.013, 0.3, 1.7, 20.3])
def test_an_output_that_stands_still_says_nothing(make_arm, values, level):
    arm = make_arm(Bottleneck(4, ReLU(), None, Linear(), tied=False), values, density=0.05)
    parameters = Parameters(W_in=arm.parameters.W_in, W_out=torch.zeros(2, 9, 4), b_out=torch.full((2, 9), level))
    assert (rescaled_r2(collect(Models(arm.experiments, parameters), 5000)) < 1e-3).all()


def test_a_feature_never_seen_is_undefined(make_arm):
    arm = make_arm(SHAPES["gelu+LN, tied, ReLU output"], density=1e-9)
    moments = collect(arm, 512)
    assert rescaled_r2(moments).isnan().all()
    found = drops(arm, moments.folds[3], 256, 512)
    assert set(found) == {"live", *DECISIVE, *BESIDE}
    assert all(drop.isnan().all() for drop in found.values())


@pytest.mark.parametrize("values", [UniformValues(), Binary()], ids=lambda v: v.name)
@each_shape
def test_drops_are_those_of_models_run_with_the_norm_frozen(make_arm, bottleneck, values):
    arm = make_arm(bottleneck, values)
    middle, last = 2048, 4096
    live = collect(arm, last - middle, middle)
    found = drops(arm, live, middle, last)
    x = sampler(arm.experiments).evaluation(middle, last - middle)
    t = x.double().numpy()

    def correlated(y):
        centred_t, centred_y = t - t.mean(2, keepdims=True), y - y.mean(2, keepdims=True)
        together = np.maximum((centred_t * centred_y).mean(2), 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            squared = together**2 / (centred_t**2).mean(2) / (centred_y**2).mean(2)
        return np.where((centred_y**2).mean(2) > 1e-12, squared, 0.0)

    def as_it_is(y):
        return 1 - ((t - y) ** 2).mean(2) / t.var(2)

    def out(*interventions):
        return operate(bottleneck, arm.parameters, x, *interventions).out.double().numpy()

    geometric = geometric_mean_scale(arm, middle)
    optimal = loss_optimal_scale(arm, middle)
    expected = {
        "live": correlated(out()),
        "geometric": correlated(out()) - correlated(out(FrozenNorm(geometric))),
        "optimal": correlated(out()) - correlated(out(FrozenNorm(optimal))),
        AS_IT_IS: as_it_is(out()) - as_it_is(out(FrozenNorm(optimal))),
        **{f"keep {k}": correlated(out()) - correlated(out(KeepLargest(k))) for k in (1, 2, 4)},
    }
    assert set(found) == set(expected)
    for kind, drop in expected.items():
        assert found[kind].numpy() == pytest.approx(drop, abs=2e-4, rel=1e-3), kind


def test_keeping_every_neuron_drops_nothing_and_keeping_one_does(make_arm):
    bottleneck = Bottleneck(2, SoLU(), LayerNorm(), Linear())
    arm = make_arm(bottleneck)
    found = drops(arm, collect(arm, 512, 512), 512, 1024)
    assert (found["keep 2"] == 0).all()
    assert (found["keep 4"] == 0).all()
    assert (found["keep 1"] != 0).any()


def test_without_norm_nothing_drops_when_it_is_held(make_arm):
    arm = make_arm(WITHOUT)
    found = drops(arm, collect(arm, 512, 512), 512, 1024)
    assert all((found[kind] == 0).all() for kind in (*DECISIVE, AS_IT_IS))
    assert (found["keep 1"] != 0).any()


def test_the_statistic_by_hand(make_tiers):
    one = torch.tensor([[True, True, False, False]] * 3)
    drop = torch.tensor([[0.1, 0.3, 0.6, torch.nan], [0.6, 0.4, 0.1, 0.1], [0.2, 0.2, torch.nan, torch.nan]])
    measured = dict.fromkeys((*DECISIVE, *BESIDE), drop)
    found = NeedsNorm().of_arm(measured, make_tiers(one, ~one))
    assert set(found) == set(measured)
    for value in found.values():
        assert value[:2].tolist() == pytest.approx([0.4, -0.4])
        assert value[2].isnan()


def test_the_smaller_of_two_tiers_needs_norm_whichever_it_is(split, make_tiers):
    """Three features of one size and five of another, a neuron each; with no LayerNorm nothing is needed."""
    neuron = (torch.arange(8) < 3).expand(1, -1)

    def statistics(layer_norm, of_neuron, of_hidden):
        columns = torch.diag(torch.where(neuron[0], of_neuron, of_hidden))
        columns = torch.cat([columns, torch.zeros(2, 8)])
        bottleneck = Bottleneck(10, SoLU(), layer_norm, Linear(), tied=False)
        e = Experiment(Features(8, 0.1, values=Binary()), bottleneck)
        eps = {} if layer_norm is None else {"ln_eps": torch.full((1,), 1e-5, dtype=torch.float64)}
        raw = Parameters(W_in=columns[None], W_out=columns.T[None], b_out=torch.zeros(1, 8), **eps)
        arm = Models([e], refit(Models([e], raw)).parameters.to("cpu", torch.float32))
        found = NeedsNorm().of_arm(NeedsNorm().measure(arm, split(arm, 16384)), make_tiers(neuron, ~neuron))
        return [found[kind].item() for kind in DECISIVE]

    assert min(statistics(LayerNorm(affine=False), 4.0, 1.5)) > NeedsNorm.margin
    assert max(statistics(LayerNorm(affine=False), 1.5, 4.0)) < -NeedsNorm.margin
    assert max(map(abs, statistics(LayerNorm(affine=False), 4.0, 4.0))) < NeedsNorm.margin / 2
    assert statistics(None, 4.0, 1.5) == [0.0, 0.0]


def test_a_dead_hidden_layer_has_no_scale_and_no_verdict(make_arm):
    """ReLU that never fires: var(mid) is 0 and 1 / sqrt(eps) the scale; nothing is inf or above 1."""
    arm = make_arm(SHAPES["relu+LN, no gain, no output bias"], Binary())
    dead = Models(arm.experiments, Parameters(**{**arm.parameters.present(), "W_in": -arm.parameters.W_in.abs()}))
    found = drops(dead, collect(dead, 512, 512), 512, 1024)
    assert all((drop.nan_to_num().abs() <= 1e-6).all() for drop in found.values())
