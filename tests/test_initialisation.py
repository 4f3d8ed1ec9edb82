"""Initialisation: starting points from each model's own seed, which know nothing of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from tests.conftest import word
from toymodels import Bottleneck, Embedding, Features, GeLU, LayerNorm, Linear, Matched, Sampler, SoLU, forward
from toymodels.initialisation import initialise
from toymodels.layer_norm import MATCHED_FRACTION
from toymodels.random import Domain

M, K = 4, 3
DECODER = Bottleneck(M, GeLU(), None, Linear(), tied=False, embedding=Embedding(2))


def sampler(seeds: Sequence[int] = range(K), n=7, density=0.3):
    return Sampler([Features(n, density)] * len(seeds), list(seeds))


def normals(seed: int, rows: int, columns: int, domain: int) -> np.ndarray:
    """Standard normals of the stream, [row, column], word by word."""
    return np.array(
        [[norm.ppf((word(seed, r, c, 0, domain) + 0.5) / 2**32) for c in range(columns)] for r in range(rows)]
    )


@pytest.mark.parametrize("seed", [0, 2**35 + 1])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_starts_are_the_streams_words(seed, scale):
    assert (Domain.INITIALISATION, Domain.EMBEDDING, Domain.READ_OUT) == (2, 7, 9)
    data, untied = sampler([seed]), Bottleneck(M, tied=False, init_scale=scale)
    in_words = normals(seed, 7, M, 2).T
    start = initialise([untied], data, torch.float64)
    assert start.W_in[0].numpy() == pytest.approx(in_words * scale / M**0.5, rel=1e-12)
    assert start.decoder[0].numpy() == pytest.approx(in_words.T / scale / M**0.5, rel=1e-12)
    # What must be said is no number a feature: W_out from words of its own, target by target.
    start = initialise([untied], data, torch.float64, n_targets=5)
    assert start.W_in[0].numpy() == pytest.approx(in_words * scale / M**0.5, rel=1e-12)
    assert start.decoder[0].numpy() == pytest.approx(normals(seed, 5, M, 9) / M**0.5, rel=1e-12)
    # A decoder: W_in over the embedding, W_out of its own, over features or over targets.
    decoder = dataclasses.replace(DECODER, init_scale=scale)
    for n_targets in (None, 5):
        start = initialise([decoder], data, torch.float64, n_targets)
        assert start.W_in[0].numpy() == pytest.approx(normals(seed, 2, M, 2).T * scale / 2**0.5, rel=1e-12)
        assert start.decoder[0].numpy() == pytest.approx(normals(seed, n_targets or 7, M, 9) / M**0.5, rel=1e-12)
        assert start.E is not None
        E = normals(seed, 7, 2, 7).T
        assert start.E[0].numpy() == pytest.approx(E / np.sqrt((E**2).sum(0)), rel=1e-12)


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("hidden, size", [(25, 50), (60, 9)])
def test_a_decoder_starts_normal_of_the_stated_scales(scale, hidden, size):
    decoder = Bottleneck(hidden, init_scale=scale, tied=False, embedding=Embedding(size))
    start = initialise([decoder] * 8, sampler(range(8), n=100), torch.float64)
    W_in, W_out = start.W_in.numpy().ravel(), start.decoder.numpy().ravel()
    for of, variance in ((W_in, scale**2 / size), (W_out, 1 / hidden)):
        assert kstest(of / variance**0.5, "norm").pvalue > 1e-4
        assert of.var() == pytest.approx(variance, rel=5 * (2 / len(of)) ** 0.5)
    assert abs(np.corrcoef(W_in[: min(len(W_in), len(W_out))], W_out[: len(W_in)])[0, 1]) < 5 / len(W_in) ** 0.5


def test_a_trained_embedding_starts_as_a_fixed_one():
    fixed, trained = (
        initialise([dataclasses.replace(DECODER, embedding=Embedding(2, t))], sampler([4])) for t in (False, True)
    )
    for name, tensor in fixed.present().items():
        assert torch.equal(tensor, trained.present()[name]), name
    assert fixed.E is not None
    assert "E" not in fixed.trained(DECODER)
    with pytest.raises(TypeError, match="bottleneck"):  # only an architecture says whether E is trained
        fixed.trained()  # pyright: ignore[reportCallIssue]
    assert "E" in trained.trained(dataclasses.replace(DECODER, embedding=Embedding(2, trained=True)))


@pytest.mark.parametrize("embedding", [None, Embedding(3), Embedding(3, trained=True)])
@pytest.mark.parametrize("n_targets", [None, 11])
def test_a_model_starts_the_same_alone_and_in_a_batch(embedding, n_targets):
    b = Bottleneck(M, tied=False, hidden_bias=True, layer_norm=LayerNorm(Matched()), embedding=embedding)
    together = initialise([b] * 3, sampler([5, 6, 7]), n_targets=n_targets)
    alone = initialise([b], sampler([6]), n_targets=n_targets)
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
    for activation, embedding in ((GeLU(), None), (SoLU(), None), (SoLU(), Embedding(10))):
        b = Bottleneck(16, activation, LayerNorm(Matched()), tied=embedding is None, embedding=embedding)
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
