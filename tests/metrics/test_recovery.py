"""Data-based measures against NumPy on the same samples, hand-built models, and closed forms."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from toymodels import (
    And,
    Binary,
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    Frequency,
    GeLU,
    Geometric,
    Identity,
    Importance,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    Tier,
    Training,
    Zipf,
    forward,
    measure,
    metrics,
    train,
)
from toymodels.engines.moment_table import TAPS
from toymodels.hosts import Models
from toymodels.metrics.linearity import unexplained_by_affine
from toymodels.metrics.loss import loss, loss_fraction
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import best_neuron_r2, dead_features, r2
from toymodels.metrics.tiers import aligned, tiers
from toymodels.training.experiment import sampler

SAMPLES = 3000
SHORT = Training(steps=200, batch=64, learning_rate=1e-2)


def trained(bottleneck, k=3, **features):
    es = [Experiment(Features(8, 0.2, **features), bottleneck, SHORT, seed=s) for s in range(k)]
    return es, train(es).parameters


@pytest.fixture(scope="module", params=[(GeLU(), None), (SoLU(), LayerNorm())], ids=["gelu", "solu+LN"])
def case(request):
    es, parameters = trained(Bottleneck(4, *request.param))
    x = sampler(es).evaluation(0, SAMPLES)
    return es, parameters, x.double().numpy(), forward(es[0].bottleneck, parameters, x)


def test_moments_do_not_depend_on_the_chunks(case):
    es, parameters, x, taps = case
    moments = collect(Models(es, parameters), SAMPLES)
    assert np.allclose(moments.t.numpy(), x.mean(2), rtol=1e-6)
    assert np.array_equal(moments.active.numpy(), (x != 0).sum(2))
    assert np.allclose(
        moments.tap_tap["pre"][1].numpy(), (taps.pre[1] @ taps.pre[1].T / SAMPLES).numpy(), rtol=1e-4, atol=1e-6
    )


def test_loss_and_r2_are_numpys(case):
    es, parameters, x, taps = case
    moments = collect(Models(es, parameters), SAMPLES)
    error = ((x - taps.out.double().numpy()) ** 2).mean(2)
    assert np.allclose(loss(Models(es, parameters), moments).numpy(), error.sum(1), rtol=1e-5)
    assert np.allclose(r2(moments).numpy(), 1 - error / x.var(2), rtol=1e-4, atol=1e-5)
    variance = 0.2 / 3 - 0.2**2 / 4
    assert np.allclose(loss_fraction(Models(es, parameters), moments).numpy(), error.sum(1) / (8 * variance), rtol=1e-5)


@pytest.mark.parametrize("tap", TAPS)
def test_best_neuron_is_the_best_of_all_regressions(case, tap):
    es, parameters, x, taps = case
    measured = best_neuron_r2(collect(Models(es, parameters), SAMPLES), tap).numpy()
    values = getattr(taps, tap).double().numpy()
    for k in range(3):
        for i in range(8):
            fits = [np.polyfit(values[k, h], x[k, i], 1, full=True)[1] for h in range(4)]
            best = 1 - min(float(fit[0]) for fit in fits) / (SAMPLES * x[k, i].var())
            assert measured[k, i] == pytest.approx(best, abs=1e-4)


def test_linearity_is_the_residual_of_least_squares(case):
    es, parameters, _, taps = case
    measured = unexplained_by_affine(collect(Models(es, parameters), SAMPLES)).numpy()
    for k in range(3):
        z, a = taps.pre[k].double().numpy().T, taps.mid[k].double().numpy().T
        design = np.column_stack([z, np.ones(SAMPLES)])
        residual = a - design @ np.linalg.lstsq(design, a, rcond=None)[0]
        assert measured[k] == pytest.approx(residual.var(0).sum() / a.var(0).sum(), abs=1e-4)


def test_a_linear_layer_is_linear_and_a_folded_one_is_not():
    es, parameters = trained(Bottleneck(4, Linear()))
    assert unexplained_by_affine(collect(Models(es, parameters), SAMPLES)).max() < 1e-4
    one = Experiment(Features(1, 1.0, signed=True), Bottleneck(1, ReLU(), output=Linear()))
    W = Parameters(torch.ones(1, 1, 1))
    share = unexplained_by_affine(collect(Models([one], W), 100_000)).item()
    # ReLU of u ~ U(-1, 1): Var = 1/6 - 1/16, affine part Cov^2 / Var(u) = (1/6)^2 * 3 = 1/12.
    assert share == pytest.approx(1 - (1 / 12) / (1 / 6 - 1 / 16), abs=0.01)


# ------------------------------------------------------------------------------------------------- hand-built models


def identity_model(n, values=None, p=0.2):
    f = Features(n, p) if values is None else Features(n, p, values=values)
    return Experiment(f, Bottleneck(n)), Parameters(torch.eye(n)[None])


def test_a_perfect_model_is_perfect():
    e, parameters = identity_model(5)
    m = measure([e], parameters, SAMPLES)
    assert m.models["loss"].item() == 0
    assert m.models["features_recovered"].item() == 5
    assert (m.features["r2"] == 1).all()
    for tap in TAPS:
        assert m.features[f"best_neuron_r2_{tap}"].numpy() == pytest.approx(np.ones((1, 5)))
    assert (m.features["response_alignment"] == 1).all()
    assert (m.features["tier"] == Tier.NEURON).all()
    assert (m.neurons["monosemanticity"] == 1).all()
    assert m.neurons["main_feature"].tolist() == [[0, 1, 2, 3, 4]]
    assert m.models["dimensionality_sum"].item() == pytest.approx(5)


def test_a_silent_model_recovers_nothing_and_is_dead():
    e, _ = identity_model(5)
    m = measure([e], Parameters(torch.zeros(1, 5, 5)), SAMPLES)
    assert m.models["features_recovered"].item() == 0
    assert m.models["dead_features"].item() == 5
    assert m.models["dead_neurons"].item() == 5
    assert m.models["unexplained_by_affine"].isnan().all()
    assert (m.features["tier"] == Tier.LOST).all()
    assert m.features["response_alignment"].isnan().all()
    assert (m.features["best_neuron_r2_mid"] == 0).all()


@pytest.mark.parametrize("p", [0.5, 0.1, 0.01])
def test_a_dropped_feature_costs_p_over_3_minus_p_squared_over_4(p):
    """Predicting the mean p/2 costs the variance; predicting 0 costs p/3."""
    e = Experiment(Features(4, p), Bottleneck(2))
    samples = 200_000
    best = measure([e], Parameters(torch.zeros(1, 2, 4), b_out=torch.full((1, 4), p / 2)), samples).models
    zero = measure([e], Parameters(torch.zeros(1, 2, 4)), samples).models
    spread = 5 * math.sqrt(4 * p / 5 / samples)
    assert best["loss"].item() == pytest.approx(4 * (p / 3 - p**2 / 4), abs=spread)
    assert zero["loss"].item() == pytest.approx(4 * p / 3, abs=spread)
    assert best["loss_fraction"].item() == pytest.approx(1, abs=spread / (4 * (p / 3 - p**2 / 4)))


def test_a_lone_one_neuron_feature_loses_its_amplitude_to_layer_norm():
    """With U(0,1) values its R^2 at post is at most 3(1-p)/(4-3p)."""
    p, m = 0.3, 4
    e = Experiment(Features(1, p), Bottleneck(m, SoLU(), LayerNorm(0.0)))
    W = torch.zeros(1, m, 1)
    W[0, 1] = 2.0
    parameters = Parameters(W, ln_eps=torch.zeros(1, dtype=torch.float64))
    post = best_neuron_r2(collect(Models([e], parameters), 200_000), "post").item()
    assert post == pytest.approx(3 * (1 - p) / (4 - 3 * p), abs=0.01)


def test_a_feature_never_seen_is_undefined_not_wrong():
    e = Experiment(Features(3, 1e-9), Bottleneck(2))
    m = measure([e], Parameters(torch.randn(1, 2, 3)), 256)
    assert m.features["r2"].isnan().all()
    assert m.features["best_neuron_r2_mid"].isnan().all()
    assert (m.features["tier"] == Tier.UNDEFINED).all()
    assert m.features["undersampled"].all()
    assert (m.features["active_examples"] == 0).all()
    assert not m.features["dead"].any()


def test_no_importance_has_no_loss_fraction():
    e, parameters = identity_model(3)
    assert isinstance(e.features, Features)
    idle = dataclasses.replace(e, features=dataclasses.replace(e.features, importance=Importance(Geometric(1e-300))))
    assert math.isfinite(measure([idle], parameters, 256).models["loss_fraction"].item())
    from toymodels import Listed

    nothing = dataclasses.replace(e.features, importance=Importance(Listed((0.0, 0.0, 0.0))))
    assert measure([dataclasses.replace(e, features=nothing)], parameters, 256).models["loss_fraction"].isnan().all()


def test_dead_features_have_an_output_that_does_not_move():
    e, parameters = identity_model(3)
    parameters = dataclasses.replace(parameters, b_out=torch.tensor([[0.0, -5.0, 0.0]]))
    assert dead_features(collect(Models([e], parameters), SAMPLES))[0].tolist() == [False, True, False]


def test_tiers_by_hand():
    r2_values = torch.tensor([[0.9, 0.9, 0.4, 0.2, 0.9, math.nan]])
    alignment = torch.tensor([[0.9, 0.3, 0.9, 0.1, 0.9, 0.9]])
    percentile = torch.tensor([[99.5, 100.0, 100.0, 0.0, 99.0, 100.0]])
    ungated = torch.tensor([[0.9, 0.9, 0.9, 0.6, 0.4, 0.9]])
    assert tiers(r2_values, aligned(alignment, percentile), ungated)[0].tolist() == [
        Tier.NEURON,
        Tier.HIDDEN,
        Tier.LOST,  # a neuron says it, and the model does not
        Tier.HIDDEN,  # the model says it where no feature of tier neuron is active
        Tier.LOST,  # as high as rotations of its own, and lost without company
        Tier.UNDEFINED,
    ]
    nowhere = torch.full_like(ungated, math.nan)  # where tier neuron never rests, R² of all data says
    assert tiers(r2_values, aligned(alignment, percentile), nowhere)[0, 1] == Tier.HIDDEN


def test_measures_do_not_depend_on_the_batch():
    es, parameters = trained(Bottleneck(4, SoLU(), LayerNorm()), frequency=Frequency(Zipf(1.0)), values=Binary())
    together, alone = measure(es, parameters, SAMPLES), measure(es[1:2], parameters[1:2], SAMPLES)
    for level in ("models", "features", "neurons"):
        for name, column in getattr(alone, level).items():
            assert torch.allclose(
                column[0].double(), getattr(together, level)[name][1].double(), rtol=1e-4, atol=1e-6, equal_nan=True
            ), name


def test_permuting_features_permutes_their_measures():
    e, _ = identity_model(6)
    torch.manual_seed(0)
    W = torch.randn(1, 6, 6)
    order = torch.randperm(6)
    a, b = measure([e], Parameters(W), 20_000), measure([e], Parameters(W[:, :, order]), 20_000)
    for name in ("norm", "interference", "dimensionality", "weight_alignment", "response_alignment"):
        assert torch.allclose(a.features[name][0, order], b.features[name][0], rtol=1e-4), name


def test_a_slice_holds_fewer_models_of_more_targets_or_of_a_wide_embedding():
    def at_once(**of):
        target, embedding = of.get("target", Identity()), of.get("embedding")
        bottleneck = Bottleneck(4, tied=False, output=Linear(), embedding=embedding)
        experiments = [Experiment(Features(32, 0.1), bottleneck, target=target)] * 500
        return len(metrics._slices(Models(experiments, Parameters(torch.empty(500, 4, 32))))[0])

    assert at_once() == 2**22 // (32 * 1024)
    assert at_once(target=And(32), embedding=Embedding(32)) == at_once()
    assert at_once(target=And(320)) == at_once() // 10 + (at_once() % 10 > 9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_many_models_are_measured_in_bounded_slices(seed):
    es = [Experiment(Features(64, 0.06), Bottleneck(16, SoLU()), seed=seed * 100 + s) for s in range(100)]
    m = measure(es, Parameters(torch.randn(100, 16, 64) / 4), 2000)
    assert m.features["r2"].shape == (100, 64)
    assert m.models["dimensionality_sum"].max() <= 16 + 1e-4
