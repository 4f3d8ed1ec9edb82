"""Layers that were seen to read something: as hosts the same as the models whose data they are given."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from toymodels import Binary, Bottleneck, Embedding, Experiment, Features, GeLU, LayerNorm, Linear, Parameters, SoLU
from toymodels.activations import Activation
from toymodels.examples import Examples
from toymodels.hosts import Models
from toymodels.hosts.layer import Layer, probed
from toymodels.hosts.taking import Projection
from toymodels.hypotheses.predictions.p2_rescaled import changes
from toymodels.initialisation import initialise
from toymodels.metrics.functional_alignment import functional_null
from toymodels.metrics.moments import collect
from toymodels.metrics.probe import PENALTIES
from toymodels.training.experiment import sampler

SAMPLES = 2048


def models(activation: Activation = SoLU(), norm: LayerNorm | None = LayerNorm()) -> Models:
    """Untrained decoders, moved away from where they start."""
    b = Bottleneck(
        8, activation, norm, output=Linear(), tied=False, hidden_bias=True, embedding=Embedding(5), init_scale=3.0
    )
    es = [Experiment(Features(12, 0.2, values=Binary()), b, seed=seed) for seed in range(3)]
    start = initialise([b] * 3, sampler(es))
    noise = torch.Generator().manual_seed(5)
    moved = {name: t + 0.3 * torch.randn(t.shape, generator=noise) for name, t in start.trained(b).items()}
    return Models(es, Parameters(**moved, E=start.E, ln_eps=start.ln_eps))


def layer_of(host: Models, samples: int = SAMPLES) -> Layer:
    """The same layers with their first samples as data: to take a feature away is to make its number 0."""
    n = host.first.features.n
    zero = torch.zeros(len(host), n)
    return Layer(host.bottleneck, host.parameters, host.examples(0, samples), Projection(_each(host, n), zero))


def _each(host: Models, n: int) -> torch.Tensor:
    return torch.eye(n).expand(len(host), n, n)


@pytest.mark.parametrize("norm", [None, LayerNorm()], ids=["plain", "normed"])
def test_measures_of_a_layer_are_those_of_the_model_whose_data_it_has(norm: LayerNorm | None):
    host = models(norm=norm)
    layer = layer_of(host)
    of_layer, of_models = collect(layer, SAMPLES), collect(host, SAMPLES)
    for name in ("t", "squared_error", "cost"):
        torch.testing.assert_close(getattr(of_layer, name), getattr(of_models, name), rtol=1e-4, atol=1e-5)
    for tap in ("pre", "mid", "post"):
        torch.testing.assert_close(of_layer.tap_target[tap], of_models.tap_target[tap], rtol=1e-4, atol=1e-5)
    null, own = functional_null(layer, SAMPLES, draws=20), functional_null(host, SAMPLES, draws=20)
    torch.testing.assert_close(null.draws, own.draws, rtol=1e-3, atol=1e-5)
    found, expected = changes(layer, 1024, SAMPLES), changes(host, 1024, SAMPLES)
    for tap in found:
        torch.testing.assert_close(found[tap], expected[tap], rtol=1e-4, atol=1e-5)


def test_a_part_of_the_layers_is_the_same_layers():
    layer = layer_of(models())
    part = layer[1:2]
    assert len(part) == 1
    assert torch.equal(collect(part, SAMPLES).tap["post"][0], collect(layer, SAMPLES).tap["post"][1])
    for tap, moved in changes(part, 0, 512).items():
        torch.testing.assert_close(moved[0], changes(layer, 0, 512)[tap][1])


def test_what_a_feature_does_is_the_difference_of_means_and_rest_the_mean():
    layer = layer_of(models())
    taps = layer.taps(layer.data.x)
    for tap in ("pre", "mid", "post"):
        values = getattr(taps, tap)
        torch.testing.assert_close(getattr(layer.rest(), tap)[:, :, 0], values.mean(2), rtol=1e-4, atol=1e-5)
        found = layer.directions(tap)
        for model in range(len(layer)):
            for feature in range(layer.n_targets):
                there = layer.data.active[model, feature]
                expected = values[model][:, there].mean(1) - values[model][:, ~there].mean(1)
                torch.testing.assert_close(found[model, :, feature], expected, rtol=1e-3, atol=1e-4)
    at_mid = layer.directions("mid")
    torch.testing.assert_close(
        layer.response_sizes(), (at_mid - at_mid.quantile(0.5, dim=1, keepdim=True)).abs(), rtol=1e-4, atol=1e-5
    )


def test_responses_and_rest_are_of_the_samples_set_apart():
    host = models()
    data, apart = host.examples(0, 2048), host.examples(2048, 1024)
    taking = Projection(_each(host, 12), torch.zeros(3, 12))
    layer = Layer(host.bottleneck, host.parameters, data, taking, apart)
    alone = Layer(host.bottleneck, host.parameters, apart, taking)
    for tap in ("mid", "post"):
        assert torch.equal(layer.directions(tap), alone.directions(tap))
        assert torch.equal(getattr(layer.rest(), tap), getattr(alone.rest(), tap))
    torch.testing.assert_close(layer[1:2].directions("mid")[0], alone.directions("mid")[1])
    probe = probed(host.bottleneck, host.parameters, host.examples(0, 3072), taking, 1024)
    assert probe.apart is not None
    assert torch.equal(probe.apart.x, host.examples(0, 1024).x)


def test_responses_do_not_see_what_layer_norm_deletes():
    host = models(activation=Linear())
    p = host.parameters
    assert p.b_in is not None
    shifted = dataclasses.replace(p, W_in=p.W_in + torch.randn(3, 1, 5), b_in=p.b_in + 2.0)
    before, after = (layer_of(host.changed(each)) for each in (p, shifted))
    torch.testing.assert_close(before.response_sizes(), after.response_sizes(), rtol=1e-3, atol=1e-4)
    assert (before.directions("mid") - after.directions("mid")).abs().max() > 0.1


def test_a_read_out_is_the_ridge_that_does_best_on_samples_it_did_not_see():
    host = models()
    data = host.examples(0, 4096)
    blank = dataclasses.replace(host.parameters, W_out=None, b_out=None)
    taking = Projection(_each(host, 12), torch.zeros(3, 12))
    layer = probed(host.bottleneck, blank, data, taking, 2048)
    assert layer.samples == 2048
    assert torch.equal(layer.data.x, data.x[:, :, 2048:])
    post = host.taps(data.x).post.double().numpy()
    W_out, b_out = layer.parameters.W_out, layer.parameters.b_out
    assert W_out is not None
    assert b_out is not None
    for model in range(3):
        fit, held = post[model].T[:1536], post[model].T[1536:2048]
        scale = fit.var(0).mean()
        for feature in range(12):
            t = data.t[model, feature].numpy()
            each = [Ridge(alpha=p * scale * 1536, solver="cholesky").fit(fit, t[:1536]) for p in PENALTIES]
            errors = [np.square(ridge.predict(held) - t[1536:2048]).mean() for ridge in each]
            best = each[int(np.argmin(errors))]
            mine = held @ W_out[model, feature].numpy() + float(b_out[model, feature])
            error = np.square(mine - t[1536:2048]).mean()
            assert error == pytest.approx(min(errors), rel=1e-3)
            assert mine == pytest.approx(best.predict(held), abs=2e-2)


def test_too_few_samples_on_either_side_are_refused():
    host = models(activation=GeLU(), norm=None)
    taking = Projection(_each(host, 12), torch.zeros(3, 12))
    for apart in (100, 128, 960):
        with pytest.raises(ValueError, match="apart: expected a multiple of 64"):
            probed(host.bottleneck, host.parameters, host.examples(0, 1024), taking, apart)
    with pytest.raises(ValueError, match="samples: expected at most 2048, got 2049"):
        layer_of(host).examples(2045, 4)


def test_examples_are_a_stretch_of_the_data():
    layer = layer_of(models())
    found = layer.examples(64, 32)
    assert isinstance(found, Examples)
    assert torch.equal(found.x, layer.data.x[:, :, 64:96])
    assert torch.equal(found.active, layer.data.active[:, :, 64:96])
