"""R^2 of single neurons of rotated models: kernels against torch in float64, and torch against NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.test_fused import experiments, moved
from toymodels import (
    AbsoluteValue,
    And,
    Binary,
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Matched,
    ReLU,
    SoLU,
    Training,
    forward,
    train,
)
from toymodels.bottleneck import hidden_from, preactivation
from toymodels.engines import ENGINES
from toymodels.engines.autograd import rotated as torch_rotated
from toymodels.engines.fused import rotated as fused_rotated
from toymodels.hosts import Models
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import best_neuron_r2
from toymodels.rotations import drawn_rotations
from toymodels.training.experiment import sampler, target_of

autograd, fused = ENGINES["autograd"], ENGINES["fused"]
RECIPE = Training(steps=60, batch=64, learning_rate=0.01)
READS = Bottleneck(20, SoLU(), LayerNorm(), Linear(), tied=False, hidden_bias=True, embedding=Embedding(8))
SETTINGS = [
    (Features(30, 0.05, values=Binary()), Bottleneck(16, SoLU(), LayerNorm(), tied=False, hidden_bias=True), {}),
    (Features(7, 0.3), Bottleneck(3, Linear()), {}),
    (Features(30, 0.6, signed=True), Bottleneck(21, ReLU(), output=Linear(), tied=False), {"target": AbsoluteValue()}),
    (Features(20, 0.1, values=Binary()), READS, {"target": And(31)}),
    (Features(20, 0.1, values=Binary()), dataclasses.replace(READS, embedding=Embedding(5, trained=True)), {}),
]


def rotations(e: Experiment, draws: int, seed: int = 0) -> torch.Tensor:
    """The identity, and some."""
    hidden = e.bottleneck.hidden
    drawn = drawn_rotations(hidden, draws, seed, about_ones=e.bottleneck.layer_norm is not None)
    return torch.cat([torch.eye(hidden)[None], drawn])


def trained(features, bottleneck, models=3, **objective):
    es = [Experiment(features, bottleneck, RECIPE, seed=seed, **objective) for seed in range(models)]
    return es, train(es).parameters


@given(experiments(), st.integers(1, 700), st.sampled_from([0, 64, 1024]))
@settings(max_examples=100)
def test_kernels_find_what_float64_finds(e, samples, first):
    """To 1e-4, and to what float32 itself misses, of everything that the sweep file can say."""
    exact, Q = moved(e), rotations(e, 3)
    ours = fused.rotated_r2([e], exact.to("cpu", torch.float32), Q, first, samples)
    theirs = autograd.rotated_r2([e], exact, Q, first, samples)
    in_float32 = autograd.rotated_r2([e], exact.to("cpu", torch.float32), Q, first, samples)
    assert ours.shape == theirs.shape == (1, 4, e.n_targets)
    assert ours.dtype == theirs.dtype == in_float32.dtype == torch.float64
    assert torch.equal(ours.isnan(), theirs.isnan())
    allowed = 1e-4 + 4 * (in_float32 - theirs).abs().nan_to_num().max()
    assert (ours - theirs).abs().nan_to_num().max() <= allowed


@pytest.mark.parametrize("samples", [1, 64, 700, 3000])
@pytest.mark.parametrize("features, bottleneck, objective", SETTINGS)
def test_in_many_chunks_too(features, bottleneck, objective, samples):
    es, parameters = trained(features, bottleneck, **objective)
    Q = rotations(es[0], 4)
    ours = fused.rotated_r2(es, parameters, Q, 64, samples)
    theirs = autograd.rotated_r2(es, parameters.to("cpu", torch.float64), Q, 64, samples)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5, equal_nan=True)


def test_torch_finds_what_numpy_finds(monkeypatch):
    """One sample, neuron and target after the other, over chunks and in parts of the draws."""
    features, bottleneck = Features(6, 0.2), Bottleneck(5, GeLU(), LayerNorm(), tied=False, hidden_bias=True)
    es, parameters = trained(features, bottleneck, models=2)
    parameters, Q = parameters.to("cpu", torch.float64), rotations(es[0], 4)
    monkeypatch.setattr(torch_rotated, "AT_ONCE", 1024 * 2 * 5 * 3)
    found = autograd.rotated_r2(es, parameters, Q, 128, 1500)
    x = sampler(es).evaluation(128, 1500).double()
    t, z = target_of(es)(x).numpy(), preactivation(parameters, x)
    for draw, q in enumerate(Q.double()):
        post = hidden_from(bottleneck, parameters, q @ z).post.numpy()
        for model in range(2):
            squared = np.corrcoef(post[model], t[model])[:5, 5:] ** 2
            np.testing.assert_allclose(found[model, draw], squared.max(0), rtol=1e-6)


@pytest.mark.parametrize("features, bottleneck, objective", SETTINGS)
def test_the_identity_finds_the_best_neuron_of_the_moments(features, bottleneck, objective):
    es, parameters = trained(features, bottleneck, **objective)
    moments = collect(Models(es, parameters), 2000, 128)
    for engine in (fused, autograd):
        found = engine.rotated_r2(es, parameters, torch.eye(bottleneck.hidden)[None], 128, 2000)
        torch.testing.assert_close(found[:, 0], best_neuron_r2(moments, "post"), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("features, bottleneck, objective", SETTINGS)
def test_alone_in_a_batch_and_on_more_threads_bit_for_bit(features, bottleneck, objective, monkeypatch):
    es, parameters = trained(features, bottleneck, models=5, **objective)
    Q = rotations(es[0], 12)
    together = fused.rotated_r2(es, parameters, Q, 64, 1100)
    for k, e in enumerate(es):
        alone = fused.rotated_r2([e], parameters[k : k + 1], Q, 64, 1100)
        assert torch.equal(alone[0].nan_to_num(-1), together[k].nan_to_num(-1))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(fused_rotated, "WORK_A_CALL", 1.0)
    again = fused.rotated_r2(es, parameters, Q, 64, 1100)
    some = fused.rotated_r2(es, parameters, Q[5:7], 64, 1100)
    assert torch.equal(again.nan_to_num(-1), together.nan_to_num(-1))
    assert torch.equal(some.nan_to_num(-1), together[:, 5:7].nan_to_num(-1))


def test_every_model_and_draw_is_in_one_task():
    for models, draws, tasks in ((1, 201, 8), (3, 201, 8), (7, 5, 8), (100, 201, 8), (2, 1, 4), (4, 0, 4)):
        found = [pair for of, drawn in fused_rotated._tasks(models, draws, tasks) for m in of for pair in [(m, drawn)]]
        assert sorted((m, d) for m, drawn in found for d in drawn) == [
            (m, d) for m in range(models) for d in range(draws)
        ]


def test_a_large_mean_costs_no_digits():
    """post = 1000 + t has the squared correlation of t; sums of squares about 0 would lose six of seven digits."""
    e = Experiment(Features(2, 0.1), Bottleneck(2, Linear(), None, Linear(), tied=False, hidden_bias=True))
    _, parameters = trained(e.features, e.bottleneck, models=1)
    W = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    parameters = dataclasses.replace(parameters, W_in=W, b_in=torch.full((1, 2), 1000.0))
    found = fused.rotated_r2([e], parameters, torch.eye(2)[None], 0, 4096)
    assert found[0, 0, 0] > 0.9999
    assert abs(found[0, 0, 1] - 0.5) < 0.1


def test_what_does_not_vary_says_nothing():
    """Neurons that are constant, by themselves or by their gain, explain 0; a feature never active is NaN."""
    features = Features(3, 0.3)
    bottleneck = Bottleneck(20, ReLU(), LayerNorm(Matched()), Linear(), tied=False, hidden_bias=True)
    es, parameters = trained(features, bottleneck, models=1)
    assert parameters.ln_gain is not None
    still = dataclasses.replace(parameters, ln_gain=torch.zeros_like(parameters.ln_gain))
    for engine in (fused, autograd):
        assert (engine.rotated_r2(es, still, rotations(es[0], 2), 0, 1000) == 0).all()
        assert engine.rotated_r2(es, parameters, rotations(es[0], 2), 0, 1).isnan().all()
        assert engine.rotated_r2(es, parameters, torch.zeros(0, 20, 20), 0, 100).shape == (1, 0, 3)


@pytest.mark.parametrize("engine", [fused, autograd])
def test_what_layer_norm_deletes_changes_nothing(engine):
    """Linear + LN: W_in + 1 v^T adds c(x) 1 to mid, and Q leaves 1 where it is."""
    bottleneck = Bottleneck(8, Linear(), LayerNorm(), Linear(), tied=False)
    es, parameters = trained(Features(12, 0.2), bottleneck)
    v = torch.randn(3, 1, 12, generator=torch.Generator().manual_seed(0))
    moved_along = dataclasses.replace(parameters, W_in=parameters.W_in + v)
    Q = rotations(es[0], 20)
    before, after = (engine.rotated_r2(es, p, Q, 0, 2000) for p in (parameters, moved_along))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)
    free = drawn_rotations(8, 20, 0, about_ones=False)
    before, after = (engine.rotated_r2(es, p, free, 0, 2000) for p in (parameters, moved_along))
    assert (after - before).abs().max() > 0.05


def test_rotating_weights_is_rotating_what_is_before_the_activation():
    features, bottleneck = Features(9, 0.2), Bottleneck(6, SoLU(), LayerNorm(), tied=False, hidden_bias=True)
    es, parameters = trained(features, bottleneck)
    Q = rotations(es[0], 1)[1]
    assert parameters.b_in is not None
    turned = dataclasses.replace(parameters, W_in=Q @ parameters.W_in, b_in=parameters.b_in @ Q.T)
    x = sampler(es).evaluation(0, 100)
    torch.testing.assert_close(
        forward(bottleneck, turned, x).pre, Q @ forward(bottleneck, parameters, x).pre, rtol=1e-4, atol=1e-5
    )
    by_weights = fused.rotated_r2(es, turned, torch.eye(6)[None], 0, 1000)
    by_rotation = fused.rotated_r2(es, parameters, Q[None], 0, 1000)
    torch.testing.assert_close(by_weights, by_rotation, rtol=1e-3, atol=1e-5)


def test_a_target_that_is_never_0_is_a_list_as_long_as_a_chunk():
    es, parameters = trained(Features(4, 1.0), Bottleneck(2, ReLU(), tied=False))
    Q = rotations(es[0], 2)
    ours = fused.rotated_r2(es, parameters, Q, 0, 1100)
    theirs = autograd.rotated_r2(es, parameters.to("cpu", torch.float64), Q, 0, 1100)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
