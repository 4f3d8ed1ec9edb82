"""The ridge probe against scikit-learn, against the best single neuron, and on layers whose answer is known."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

import toymodels as tm
from toymodels import (
    Binary,
    Bottleneck,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    ReLU,
    SoLU,
    UniformValues,
    forward,
)
from toymodels.bottleneck import Parameters
from toymodels.engines.moment_table import TAPS
from toymodels.hosts import Models
from toymodels.initialisation import initialise
from toymodels.metrics.moments import collect
from toymodels.metrics.probe import PENALTIES, chosen, ridge, ridge_r2
from toymodels.metrics.recovery import best_neuron_r2
from toymodels.training.experiment import sampler
from toymodels.values import Values

SAMPLES = 4000


def start(bottleneck, n=12, density=0.2, models=2, values: Values | None = None):
    features = Features(n, density, values=values or UniformValues())
    es = [Experiment(features, bottleneck, seed=seed) for seed in range(models)]
    return es, initialise([bottleneck] * models, sampler(es), torch.float64)


def stretch(es, parameters, first, last):
    x = sampler(es).evaluation(first, last - first).double()
    return x, forward(es[0].bottleneck, parameters, x)


@pytest.mark.parametrize("tap", TAPS)
@pytest.mark.parametrize("bottleneck", [Bottleneck(5, ReLU()), Bottleneck(6, SoLU(), LayerNorm())])
def test_every_penalty_agrees_with_scikit_learn(bottleneck, tap):
    es, parameters = start(bottleneck)
    fold = collect(Models(es, parameters), SAMPLES).folds[1]
    edges = 1024, 1984
    x, taps = stretch(es, parameters, *edges)
    assert fold.samples == edges[1] - edges[0]
    for penalty, probe in zip(PENALTIES, ridge(fold, tap), strict=True):
        for model in range(2):
            a, t = getattr(taps, tap)[model].T.numpy(), x[model].T.numpy()
            theirs = Ridge(alpha=penalty * a.var(0).mean() * len(a), solver="svd").fit(a, t)
            assert abs(probe.weights[model].T.numpy() - theirs.coef_).max() < 1e-6 * max(1, abs(theirs.coef_).max())
            assert abs(probe.bias[model].numpy() - theirs.intercept_).max() < 1e-6
            error = ((theirs.predict(a) - t) ** 2).mean(0)
            torch.testing.assert_close(probe.squared_error(fold)[model], torch.from_numpy(error), rtol=1e-6, atol=1e-12)


def test_r2_is_that_of_weights_fitted_on_two_folds_chosen_on_the_third_and_judged_on_the_fourth():
    es, parameters = start(Bottleneck(4, GeLU()), n=9)
    moments = collect(Models(es, parameters), SAMPLES)
    edges = [0, 1024, 1984, 3008, 4000]
    folds = [stretch(es, parameters, first, last) for first, last in pairwise(edges)]
    total = 0.0
    for k in range(4):
        (x, judged), (y, held_out), *fitting = (folds[(k + j) % 4] for j in range(4))
        a = torch.cat([taps.mid[0] for _, taps in fitting], 1).T.numpy()
        t = torch.cat([seen[0] for seen, _ in fitting], 1).T.numpy()
        fits = [Ridge(alpha=p * a.var(0).mean() * len(a), solver="svd").fit(a, t) for p in PENALTIES]
        errors = [((f.predict(held_out.mid[0].T.numpy()) - y[0].T.numpy()) ** 2).mean(0) for f in fits]
        for feature in range(9):
            best = min(range(len(fits)), key=lambda place, i=feature: errors[place][i])
            said = fits[best].predict(judged.mid[0].T.numpy())[:, feature]
            if feature == 3:
                total += float(((said - x[0, 3].numpy()) ** 2).sum())
    variance = moments.target_variance[0, 3].item()
    assert ridge_r2(moments, "mid")[0, 3].item() == pytest.approx(1 - total / SAMPLES / variance, rel=1e-6)


@given(st.sampled_from([Linear(), ReLU(), GeLU(), SoLU()]), st.booleans(), st.integers(1, 9), st.booleans())
@settings(max_examples=40)
def test_the_probe_says_at_least_what_the_best_neuron_says(activation, layer_norm, hidden, binary):
    bottleneck = Bottleneck(hidden, activation, LayerNorm() if layer_norm and hidden > 1 else None)
    es, parameters = start(bottleneck, values=Binary() if binary else None)
    moments = collect(Models(es, parameters), SAMPLES)
    for tap in TAPS:
        assert (ridge_r2(moments, tap) >= best_neuron_r2(moments, tap) - 0.02).all()


def test_an_invertible_linear_layer_hides_nothing_from_the_probe():
    es, parameters = start(Bottleneck(12, Linear()), models=1)
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    moments = collect(Models(es, Parameters(W_in=rotation[None], b_out=parameters.b_out)), SAMPLES)
    assert (ridge_r2(moments, "mid") > 1 - 1e-5).all()
    assert (best_neuron_r2(moments, "mid") < 0.9).all()


def test_a_layer_that_never_moves_says_nothing_and_no_nan():
    es, parameters = start(Bottleneck(4, ReLU()))
    moments = collect(Models(es, Parameters(W_in=-parameters.W_in.abs(), b_out=parameters.b_out)), SAMPLES)
    r2 = ridge_r2(moments, "mid")
    assert (r2.abs() < 0.01).all()
    few = collect(Models(es, parameters), 100)
    assert ridge_r2(few, "mid").isnan().all()


def test_the_penalty_is_chosen_by_samples_that_were_not_fitted():
    es, parameters = start(Bottleneck(8, ReLU()), n=30, density=0.05)
    first, second, *_ = collect(Models(es, parameters), 256).folds  # 64 samples each: overfitting is easy
    probes = ridge(first, "mid")
    errors = torch.stack([probe.squared_error(second) for probe in probes])
    torch.testing.assert_close(chosen(probes, second).squared_error(second), errors.min(0).values)
    assert (errors.argmin(0) > 0).any()


def test_a_broken_model_costs_its_neighbours_nothing():
    es = [tm.Experiment(tm.Features(6, 0.3), tm.Bottleneck(3, tm.ReLU()), seed=seed) for seed in range(2)]
    W = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    alone = tm.measure(es[1:], tm.Parameters(W_in=W[1:], b_out=torch.zeros(1, 6)), samples=2000)
    W[0, 0, 0] = torch.nan
    both = tm.measure(es, tm.Parameters(W_in=W, b_out=torch.zeros(2, 6)), samples=2000)
    assert not both.failed
    for name in ("ridge_r2_pre", "ridge_r2_mid", "ridge_r2_post"):
        torch.testing.assert_close(both.features[name][1], alone.features[name][0], rtol=1e-9, atol=1e-12)
        assert both.features[name][0].isnan().all()
