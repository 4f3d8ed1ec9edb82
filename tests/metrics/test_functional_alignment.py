"""Functional alignment and its null: uniform where the basis means nothing, and blind to what LayerNorm deletes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

import toymodels as tm
from toymodels.hosts import Models
from toymodels.metrics.functional_alignment import DRAWS, NULL_ON, FunctionalNull, functional_null
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import best_neuron_r2
from toymodels.rotations import rotations_of
from toymodels.training.experiment import sampler, start

FEATURES = tm.Features(12, 0.2, values=tm.Binary())


def untrained(bottleneck, features=FEATURES, models=3):
    """Models at their start, whose W_in is Gaussian: any rotation of it is as likely."""
    es = [tm.Experiment(features, bottleneck, seed=seed) for seed in range(models)]
    return es, start(es, sampler(es))


def made(W_in, norm=True, activation=None, features=FEATURES):
    """One model of a W_in [hidden, feature] built by hand."""
    layer_norm = tm.LayerNorm() if norm else None
    bottleneck = tm.Bottleneck(len(W_in), activation or tm.Linear(), layer_norm, tm.Linear(), tied=False)
    es, parameters = untrained(bottleneck, features, 1)
    return es, dataclasses.replace(parameters, W_in=W_in[None])


def test_percentiles_and_quantiles_of_draws_written_out():
    own = torch.tensor([[0.5, 0.0, 1.0, torch.nan]], dtype=torch.float64)
    draws = torch.tensor([[0.7, 0.1, 0.5, 0.3, 0.2]], dtype=torch.float64).expand(4, 5)[None].clone()
    draws[0, 3] = torch.nan
    null = FunctionalNull(own, draws)
    assert null.percentile[0, :3].tolist() == [60, 0, 100]
    assert null.percentile[0, 3].isnan()
    for percent, expected in ((1, 0.1), (20, 0.1), (21, 0.2), (60, 0.3), (80, 0.5), (99, 0.7), (100, 0.7)):
        assert null.quantile(percent)[0, 0] == expected
        assert null.quantile(percent)[0, 0] == np.quantile(draws[0, 0], percent / 100, method="inverted_cdf")
    assert null.quantile(99)[0, 3].isnan()
    for percent in (0, -1, 101):
        with pytest.raises(ValueError, match="percent"):
            null.quantile(percent)


def test_of_two_hundred_draws_the_99_9th_percentile_is_above_all():
    draws = torch.arange(DRAWS, dtype=torch.float64)[None, None]
    for own, beyond_99, beyond_99_9 in ((196.5, False, False), (197.5, True, False), (199.5, True, True)):
        null = FunctionalNull(torch.tensor([[own]], dtype=torch.float64), draws)
        assert bool(null.percentile >= 99) == beyond_99
        assert bool(null.percentile >= 99.9) == beyond_99_9
    assert null.quantile(99) == 197


@pytest.mark.parametrize("norm", [None, tm.LayerNorm()])
def test_its_own_alignment_is_the_best_neuron_of_the_same_samples(norm):
    es, parameters = untrained(tm.Bottleneck(5, tm.SoLU(), norm, hidden_bias=True, hidden_bias_start=-0.3))
    null = functional_null(Models(es, parameters), 1500, first=256, draws=7)
    expected = best_neuron_r2(collect(Models(es, parameters), 1500, 256), "post")
    torch.testing.assert_close(null.own, expected, rtol=1e-4, atol=1e-6)
    assert null.draws.shape == (3, 12, 7)
    assert (null.draws.diff(dim=-1) >= 0).all()


def test_samples_beyond_the_most_are_left_out():
    es, parameters = untrained(tm.Bottleneck(5, tm.GeLU()), models=1)
    most, more = (functional_null(Models(es, parameters), samples, draws=3) for samples in (NULL_ON, 2 * NULL_ON))
    assert torch.equal(most.own, more.own)
    assert torch.equal(most.draws, more.draws)


class Straight(tm.Elementwise):
    """z -> z, by torch operations."""

    name = "straight to the end"

    def __call__(self, z, dim=-1):
        return z

    def derivative(self, z):
        return torch.ones_like(z)


def test_what_has_no_kernel_is_measured_in_torch_operations():
    W_in = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    es, parameters = made(W_in)
    others, _ = made(W_in, activation=Straight())
    ours, theirs = (functional_null(Models(each, parameters), 1000, draws=5) for each in (es, others))
    torch.testing.assert_close(ours.draws, theirs.draws, rtol=1e-3, atol=1e-5)
    double = functional_null(Models(es, parameters.to("cpu", torch.float64)), 1000, draws=5)
    torch.testing.assert_close(double.draws, theirs.draws, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("activation", [tm.SoLU(), tm.ReLU()], ids=["solu", "relu"])
@pytest.mark.parametrize("norm", [None, tm.LayerNorm()], ids=["", "LN"])
def test_percentiles_are_uniform_where_the_basis_means_nothing(activation, norm):
    """W_in of Gaussian entries, and a hidden bias drawn likewise: one feature a model, and other rotations for each."""
    models, features = 300, tm.Features(4, 0.3)
    bottleneck = tm.Bottleneck(6, activation, norm, tied=False, hidden_bias=True)
    es, parameters = untrained(bottleneck, features, models)
    generator = torch.Generator().manual_seed(1)
    W_in = 3 * torch.randn(models, 6, 4, generator=generator)
    parameters = dataclasses.replace(parameters, W_in=W_in, b_in=torch.randn(models, 6, generator=generator))
    percentiles = [
        functional_null(Models([e], parameters[k : k + 1]), 256, draws=99, seed=k).percentile[0, k % 4].item()
        for k, e in enumerate(es)
    ]
    # Of 100 exchangeable values, the number below one of them is uniform on 0 .. 99.
    jitter = np.random.default_rng(0).uniform(size=models)
    ranks = (np.array(percentiles) * 99 / 100 + jitter) / 100
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 0.01


@pytest.mark.parametrize("activation", [tm.Linear(), tm.SoLU(), tm.GeLU()], ids=["linear", "solu", "gelu"])
def test_one_v_in_the_weights_changes_nothing_where_layer_norm_deletes_it(activation):
    """Exactly so for a linear activation, and for SoLU, whose softmax does not see it, not at all."""
    generator = torch.Generator().manual_seed(2)
    W_in = torch.randn(8, 12, generator=generator)
    v = torch.randn(1, 12, generator=generator)
    before, after = (functional_null(Models(*made(W, activation=activation)), 2000, draws=30) for W in (W_in, W_in + v))
    if isinstance(activation, tm.Linear):
        torch.testing.assert_close(after.own, before.own, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(after.draws, before.draws, rtol=1e-3, atol=1e-5)
        assert torch.equal(after.percentile, before.percentile)
    else:
        assert (after.own - before.own).abs().max() > 0.01


def test_a_feature_in_a_neuron_of_its_own_is_aligned_whatever_is_added_to_all_neurons():
    plain = 2 * torch.eye(12)
    first, second = (functional_null(Models(*made(W)), NULL_ON) for W in (plain, plain + 0.5))
    assert (first.own > 0.6).all()  # LayerNorm's scale depends on how many features are active
    torch.testing.assert_close(second.own, first.own, rtol=1e-3, atol=1e-5)
    assert torch.equal(first.percentile, second.percentile)
    assert (first.percentile == 100).all()
    without = functional_null(Models(*made(plain, norm=False)), NULL_ON)
    assert (without.own > 0.9999).all()


def test_order_gain_and_bias_of_neurons_change_nothing():
    es, parameters = untrained(tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), tied=False, hidden_bias=True))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert parameters.b_in is not None
    assert parameters.ln_gain is not None
    assert parameters.ln_bias is not None
    permuted = dataclasses.replace(parameters, W_in=parameters.W_in[:, order], b_in=parameters.b_in[:, order])
    scaled = dataclasses.replace(
        parameters, ln_gain=parameters.ln_gain * torch.tensor([-2, -1, 0.5, 1, 2, 3]), ln_bias=parameters.ln_bias + 5
    )
    own = functional_null(Models(es, parameters), 1000, draws=1)
    torch.testing.assert_close(functional_null(Models(es, permuted), 1000, draws=1).own, own.own, rtol=1e-4, atol=1e-6)
    of_scaled = functional_null(Models(es, scaled), 1000, draws=1)
    torch.testing.assert_close(of_scaled.own, own.own, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(of_scaled.draws, own.draws, rtol=1e-3, atol=1e-5)


def test_other_rotations_are_other_noise():
    """The nulls of a random model have one distribution, whichever 200 rotations were drawn."""
    es, parameters = untrained(tm.Bottleneck(16, tm.SoLU(), tm.LayerNorm(), tied=False, init_scale=4.0), models=2)
    nulls = [functional_null(Models(es, parameters), 1024, seed=seed) for seed in range(3)]
    for other in nulls[1:]:
        assert torch.equal(other.own, nulls[0].own)
        assert not torch.equal(other.draws, nulls[0].draws)
        for a, b in zip(other.draws.flatten(0, 1).numpy(), nulls[0].draws.flatten(0, 1).numpy(), strict=True):
            assert scipy.stats.kstest(a, b).pvalue > 1e-3


BY_DESIGN = {
    "blocks": tm.Bottleneck(6, tm.ReLU(), blocks=2),
    "blocks + LN": tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), blocks=2),
    "top_k": tm.Bottleneck(6, tm.GeLU(), top_k=2),
    "experts": tm.Bottleneck(6, tm.ReLU(), experts=2),
    "gated": tm.Bottleneck(6, tm.ReLU(), gated=True),
    "bilinear": tm.Bottleneck(6, tm.Linear(), gated=True),
}


@pytest.mark.parametrize("name", BY_DESIGN)
def test_percentiles_are_uniform_in_layers_that_are_not_dense(name):
    """Weights as they start, and biases drawn likewise: rotations of each block or expert are as likely."""
    models, b = 200, dataclasses.replace(BY_DESIGN[name], tied=False, hidden_bias=True, init_scale=5.0)
    es, parameters = untrained(b, tm.Features(4, 0.3), models)
    generator = torch.Generator().manual_seed(3)
    biases = {name: torch.randn(models, 6, generator=generator) for name in ("b_in", "b_gate") if name in b.axes}
    parameters = dataclasses.replace(parameters, **biases)
    percentiles = [
        functional_null(Models([e], parameters[k : k + 1]), 256, draws=49, seed=k).percentile[0, k % 4].item()
        for k, e in enumerate(es)
    ]
    jitter = np.random.default_rng(0).uniform(size=models)
    ranks = (np.array(percentiles) * 49 / 100 + jitter) / 50
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 0.01


def test_rotations_keep_to_blocks_and_experts():
    for b in (BY_DESIGN["blocks"], BY_DESIGN["experts"]):
        Q = rotations_of(b, 5, 0)
        assert not Q[:, :3, 3:].any()
        assert not Q[:, 3:, :3].any()
        assert not torch.allclose(Q[:, :3, :3], Q[:, 3:, 3:], atol=0.1)
        torch.testing.assert_close(Q @ Q.transpose(1, 2), torch.eye(6).expand(5, 6, 6), rtol=0, atol=1e-6)
    about = rotations_of(BY_DESIGN["blocks + LN"], 5, 0)
    torch.testing.assert_close(about.view(5, 6, 2, 3).sum(3)[:, :3, 0], torch.ones(5, 3), rtol=0, atol=1e-6)
