"""Moments: the fused kernels against torch operations in float64, and against sums written out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from toymodels import (
    AbsoluteValue,
    Binary,
    Bottleneck,
    Elementwise,
    Experiment,
    Features,
    GeLU,
    Identity,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    SoLU,
    Training,
    forward,
    train,
)
from toymodels.engines.autograd import moments as autograd_moments
from toymodels.engines.fused import moments as fused_moments
from toymodels.engines.moment_table import TAPS
from toymodels.hosts import Models
from toymodels.metrics.moments import Moments, collect, fold_edges, together
from toymodels.metrics.probe import ridge_r2
from toymodels.metrics.recovery import best_neuron_r2
from toymodels.training.experiment import sampler

RECIPE = Training(steps=40, batch=64, learning_rate=0.01)


def trained(features, bottleneck, target, models=3):
    es = [Experiment(features, bottleneck, RECIPE, target, seed=seed) for seed in range(models)]
    return es, train(es).parameters


@pytest.mark.parametrize("samples", [1, 50, 64, 3000])
@pytest.mark.parametrize(
    "features, bottleneck, target",
    [
        (Features(5, 0.3), Bottleneck(2), Identity()),
        (Features(30, 0.1, signed=True), Bottleneck(5, ReLU(), tied=False), AbsoluteValue()),
        (Features(30, 0.05, values=Binary()), Bottleneck(16, SoLU(), LayerNorm()), Identity()),
        (Features(2, 0.3), Bottleneck(40, ReLU()), Identity()),
        (Features(1, 0.3), Bottleneck(100, SoLU()), Identity()),
        (Features(17, 0.2, signed=True), Bottleneck(20, GeLU(), LayerNorm(), Linear(), hidden_bias=True), Identity()),
    ],
)
def test_kernels_sum_what_float64_sums(features, bottleneck, target, samples):
    es, parameters = trained(features, bottleneck, target)
    edges = fold_edges(samples)
    folds = autograd_moments.sums(es, parameters.to("cpu", torch.float64), edges)
    for fused, exact in zip(fused_moments.sums(es, parameters, edges), folds, strict=True):
        assert fused.keys() == exact.keys()
        for name, values in exact.items():
            ours = fused[name]
            assert ours.shape == values.shape, name
            assert (ours - values).abs().max() <= 1e-5 * values.abs().max() + 1e-9, name
        assert torch.equal(fused["active"], exact["active"])


def test_moments_are_means_written_out():
    es, parameters = trained(Features(6, 0.3), Bottleneck(3, ReLU(), tied=False), Identity(), models=1)
    moments = collect(Models(es, parameters), 1500)
    x = sampler(es).evaluation(0, 1500)
    taps = forward(es[0].bottleneck, parameters, x)
    x, y, mid = x[0].double(), taps.out[0].double(), taps.mid[0].double()
    assert moments.active[0].tolist() == (x != 0).sum(1).tolist()
    for ours, exact in (
        (moments.t, x.mean(1)),
        (moments.yy, y.square().mean(1)),
        (moments.squared_error, (x - y).square().mean(1)),
        (moments.tap["mid"], mid.mean(1)),
        (moments.tap_target["mid"], mid @ x.T / 1500),
        (moments.mid_pre, mid @ taps.pre[0].double().T / 1500),
    ):
        torch.testing.assert_close(ours[0], exact, rtol=1e-5, atol=1e-7)


def test_a_model_is_measured_alike_alone_in_a_batch_and_on_more_threads(monkeypatch):
    es, parameters = trained(Features(20, 0.1), Bottleneck(12, SoLU(), LayerNorm()), Identity(), models=7)
    edges = fold_edges(2000)
    first = fused_moments.sums(es, parameters, edges)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(fused_moments, "SAMPLES_A_CALL", 1)
    again = fused_moments.sums(es, parameters, edges)
    alone = fused_moments.sums(es[3:4], parameters[3:4], edges)
    for fold, fold_again, fold_alone in zip(first, again, alone, strict=True):
        for name, values in fold.items():
            assert (values == fold_again[name]).all(), name
            assert (values[3] == fold_alone[name][0]).all(), name


class Cube(Elementwise):
    name = "cube"

    def __call__(self, z, dim=-1):
        return z**3

    def derivative(self, z):
        return 3 * z**2


def test_what_has_no_kernel_is_measured_in_torch_operations():
    es, parameters = trained(Features(6, 0.3), Bottleneck(3, Cube(), tied=False), Identity())
    moments = collect(Models(es, parameters), 500)
    (exact,) = autograd_moments.sums(es, parameters.to("cpu", torch.float64), [0, 500])
    torch.testing.assert_close(moments.squared_error, exact["squared_error"] / 500, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 63, 200, 1000, 5000])
def test_folds_are_the_samples_in_stretches(samples):
    es, parameters = trained(Features(6, 0.3), Bottleneck(3, ReLU(), tied=False), Identity(), models=2)
    moments = collect(Models(es, parameters), samples)
    edges = fold_edges(samples)
    assert [fold.samples for fold in moments.folds] == [last - first for first, last in pairwise(edges)]
    assert len(moments.folds) == (4 if samples > 255 else 3 if samples == 200 else 1)
    joined = together(moments.folds)
    assert torch.equal(joined.active, moments.active)
    for name in ("t", "squared_error", "mid_pre"):
        torch.testing.assert_close(getattr(joined, name), getattr(moments, name), rtol=1e-12, atol=1e-15)
    for name in ("tap", "tap_tap", "tap_target"):
        for tap in TAPS:
            torch.testing.assert_close(getattr(joined, name)[tap], getattr(moments, name)[tap], rtol=1e-12, atol=1e-15)
    last = moments.folds[-1]
    x = sampler(es).evaluation(edges[-2], edges[-1] - edges[-2])
    assert torch.equal(last.active, (x != 0).sum(2))
    torch.testing.assert_close(last.t, x.double().mean(2), rtol=1e-5, atol=1e-9)


def test_moments_of_arrays_are_those_of_the_host_that_made_them():
    es = [Experiment(Features(5, 0.3), Bottleneck(3, GeLU()), seed=k) for k in range(2)]
    host = Models(es, Parameters(W_in=torch.randn(2, 3, 5, generator=torch.manual_seed(0)), b_out=torch.zeros(2, 5)))
    examples = host.examples(0, 2048)
    taps = host.taps(examples.x)
    named = {"pre": taps.pre, "mid": taps.mid, "post": taps.post}
    ours, theirs = Moments.of(examples.t, named, taps.out), collect(host, 2048)
    assert ours.samples == theirs.samples
    for whole, other in ((ours, theirs), *zip(ours.folds, theirs.folds, strict=True)):
        assert torch.equal(whole.active, other.active)
        for name in ("t", "tt", "y", "yy", "squared_error", "mid_pre", "tap", "tap_squared", "tap_target", "tap_tap"):
            torch.testing.assert_close(getattr(whole, name), getattr(other, name), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(best_neuron_r2(ours, "post"), best_neuron_r2(theirs, "post"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ridge_r2(ours, "post"), ridge_r2(theirs, "post"), rtol=1e-3, atol=1e-4)


def test_moments_of_numpy_arrays_of_one_network_are_numpys():
    rng = np.random.default_rng(0)
    post = rng.standard_normal((4, 900))
    t = (post[:2] + rng.standard_normal((2, 900)) > 1).astype(int)
    found = best_neuron_r2(Moments.of(t, {"post": post}), "post")[0].numpy()
    assert found == pytest.approx((np.corrcoef(t, post)[:2, 2:] ** 2).max(1), rel=1e-9)


def test_moments_of_batches_are_those_of_all_samples():
    rng = np.random.default_rng(1)
    post, t = rng.standard_normal((4, 800)), rng.integers(0, 2, (2, 800))
    of_batches = Moments.of_batches((t[:, k : k + 100], {"a": post[:, k : k + 100]}) for k in range(0, 800, 100))
    whole = Moments.of(t, {"a": post})
    assert (of_batches.samples, len(of_batches.folds)) == (800, 4)
    torch.testing.assert_close(of_batches.tap_tap["a"], whole.tap_tap["a"])
    torch.testing.assert_close(best_neuron_r2(of_batches, "a"), best_neuron_r2(whole, "a"))
    assert ridge_r2(of_batches, "a").isfinite().all()


def test_arrays_that_do_not_fit_are_refused():
    t, post = torch.zeros(2, 50), torch.zeros(4, 50)
    with pytest.raises(ValueError, match="samples are the last axis"):
        Moments.of(t, {"post": post.T})
    with pytest.raises(ValueError, match="said"):
        Moments.of(t, {"post": post}, torch.zeros(3, 50))
    with pytest.raises(ValueError, match="shape"):
        Moments.of(torch.zeros(50), {"post": post})
    with pytest.raises(ValueError, match="at least one batch"):
        Moments.of_batches([])


@pytest.mark.parametrize("measure", [best_neuron_r2, ridge_r2, Moments.tap_variance])
def test_a_tap_without_moments_is_refused_with_those_there_are(measure):
    t, post = torch.zeros(2, 300), torch.zeros(4, 300)
    moments = Moments.of(t, {"post": post, "mine": post})
    for each in (moments, together(moments.folds), moments.folds[0]):
        if measure is not ridge_r2 or each.folds:
            with pytest.raises(
                ValueError, match=r"tap: expected one of those with moments here \(post, mine\), got 'mid'"
            ):
                measure(each, "mid")
    with pytest.raises(ValueError, match=r"\(none\), got 'mid'"):
        measure(Moments.of(t, {}), "mid")


def test_they_are_told_in_a_line():
    t, post = torch.zeros(3, 2, 1200), torch.zeros(3, 4, 1200)
    moments = Moments.of(t, {"post": post, "mine": post[:, :3]})
    assert repr(moments) == "Moments: 3 models, 2 targets, 1,200 samples in 4 folds, taps: post (4), mine (3)"
    alone = repr(Moments.of(t[0, :1], {}).folds[0])
    assert alone == "Moments: 1 model, 1 target, 320 samples, taps: none"
