"""The bottleneck: taps against the equations, starting points that know nothing of the batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from toymodels import Bottleneck, Features, GeLU, LayerNorm, Linear, Matched, Parameters, ReLU, Sampler, SoLU, forward
from toymodels.initialisation import initialise
from toymodels.layer_norm import MATCHED_FRACTION

N, M, K = 7, 4, 3
ARCHITECTURES = [
    Bottleneck(M, act, norm, output=out, output_bias=bias, tied=tied, hidden_bias=hidden_bias)
    for act in (Linear(), GeLU(), SoLU())
    for norm in (None, LayerNorm(), LayerNorm(1e-3, affine=False))
    for out, bias, tied, hidden_bias in ((ReLU(), True, True, False), (Linear(), False, False, True))
]


def sampler(seeds: Sequence[int] = range(K), n=N, density=0.3):
    return Sampler([Features(n, density)] * len(seeds), list(seeds))


def random_parameters(bottleneck, dtype=torch.float64):
    torch.manual_seed(1)
    start = initialise([bottleneck] * K, sampler(), dtype)
    moved = {name: tensor + 0.3 * torch.randn_like(tensor) for name, tensor in start.trained().items()}
    return Parameters(**moved, ln_eps=start.ln_eps)


@pytest.mark.parametrize("bottleneck", ARCHITECTURES, ids=lambda b: f"{b.activation.name}-{b.layer_norm}-{b.tied}")
def test_taps_are_the_equations(bottleneck):
    parameters = random_parameters(bottleneck)
    x = sampler().training(0, 11).double()
    taps = forward(bottleneck, parameters, x)
    for k in range(K):
        p = {name: tensor[k].numpy() for name, tensor in parameters.present().items()}
        for b in range(x.shape[2]):
            z = p["W_in"] @ x[k, :, b].numpy() + p.get("b_in", 0)
            a = bottleneck.activation(torch.from_numpy(z)).numpy()
            h = a
            if bottleneck.layer_norm:
                h = (a - a.mean()) / np.sqrt(a.var() + p["ln_eps"]) * p.get("ln_gain", 1) + p.get("ln_bias", 0)
            r = p.get("W_out", p["W_in"].T) @ h + p.get("b_out", 0)
            y = np.maximum(r, 0) if isinstance(bottleneck.output, ReLU) else r
            for tap, expected in zip(
                (taps.pre, taps.mid, taps.post, taps.readout, taps.out), (z, a, h, r, y), strict=True
            ):
                assert np.allclose(tap[k, :, b].numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_model_starts_the_same_alone_and_in_a_batch():
    b = Bottleneck(M, tied=False, hidden_bias=True, layer_norm=LayerNorm(Matched()))
    together = initialise([b] * 3, sampler([5, 6, 7]))
    alone = initialise([b], sampler([6]))
    for name, tensor in alone.present().items():
        assert torch.equal(tensor[0], together.present()[name][1]), name


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_starting_weights_are_normal_of_the_stated_scale(scale):
    b = Bottleneck(25, init_scale=scale, tied=False)
    start = initialise([b] * 4, sampler(range(4), n=200))
    W = start.W_in.double().numpy()
    assert kstest((W * 5 / scale).ravel(), "norm").pvalue > 1e-4
    assert torch.allclose(start.decoder, start.W_in.transpose(1, 2) / scale**2, rtol=1e-6)


def test_the_scale_is_each_models_own():
    small, large = Bottleneck(M), Bottleneck(M, init_scale=3.0)
    start = initialise([small, large], sampler([2, 2]))
    assert torch.allclose(3 * start.W_in[0], start.W_in[1], rtol=1e-6)


def test_matched_eps_is_the_stated_fraction_of_the_models_own_variance():
    for activation in (GeLU(), SoLU()):
        b = Bottleneck(16, activation, LayerNorm(Matched()))
        data = sampler([3], n=40, density=0.1)
        start = initialise([b], data)
        assert start.ln_eps is not None
        mid = forward(b, start, data.training(0, 4096)).mid.double()
        assert start.ln_eps.item() == pytest.approx(MATCHED_FRACTION * mid.var(1, correction=0).mean().item(), rel=1e-5)


def test_matched_and_given_eps_may_stand_side_by_side():
    given, matched = Bottleneck(M, SoLU(), LayerNorm(1e-3)), Bottleneck(M, SoLU(), LayerNorm(Matched()))
    eps = initialise([given, matched], sampler([1, 1])).ln_eps
    assert eps is not None
    assert eps[0] == 1e-3
    assert 0 < eps[1] < 1e-1


def test_tied_means_one_matrix():
    tied = initialise([Bottleneck(M)], sampler([0]))
    assert tied.W_out is None
    assert torch.equal(tied.decoder, tied.W_in.transpose(1, 2))


def test_a_selection_keeps_every_tensor_in_step():
    parameters = random_parameters(Bottleneck(M, tied=False, hidden_bias=True, layer_norm=LayerNorm()))
    chosen = parameters[[2, 0]]
    for name, tensor in chosen.present().items():
        assert torch.equal(tensor, parameters.present()[name][[2, 0]])


@pytest.mark.parametrize("field, value", [("hidden", 0), ("init_scale", 0.0), ("init_scale", math.inf)])
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(Bottleneck(2), **{field: value})


def test_layer_norm_refuses_a_negative_eps():
    with pytest.raises(ValueError, match=r"^eps: expected a number >= 0 or tm\.Matched\(\)"):
        LayerNorm(-1.0)


def test_layer_norm_over_one_neuron_is_refused():
    with pytest.raises(ValueError, match="layer_norm: over one neuron"):
        Bottleneck(1, layer_norm=LayerNorm())
    assert Bottleneck(2, layer_norm=LayerNorm()).layer_norm
