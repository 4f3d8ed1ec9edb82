"""Sparsity by design: what block-diagonal and top-k layers are, where they are the dense one, and how they train."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from toymodels import (
    SGD,
    Adam,
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    ReLU,
    RotatedAdam,
    SoLU,
    Training,
    forward,
    train,
)
from toymodels.initialisation import initialise
from toymodels.sparsity import block_mask, largest
from toymodels.training.experiment import sampler, start

FEATURES = Features(8, 0.3)
DECODER = Bottleneck(6, GeLU(), None, Linear(), tied=False, hidden_bias=True, embedding=Embedding(4))
BOTTLENECK = Bottleneck(4, ReLU(), LayerNorm(), hidden_bias=True)


def of(bottleneck: Bottleneck, models: int = 3, optimizer=None, **recipe) -> list[Experiment]:
    training = Training(steps=30, batch=16, learning_rate=0.02, optimizer=optimizer or Adam(), **recipe)
    return [Experiment(FEATURES, bottleneck, training, seed=seed) for seed in range(models)]


def test_a_block_reads_its_part_of_the_inputs():
    assert block_mask(2, 4, 6).int().tolist() == [[1, 1, 1, 0, 0, 0]] * 2 + [[0, 0, 0, 1, 1, 1]] * 2
    assert block_mask(1, 3, 5).all()


@pytest.mark.parametrize("bottleneck, blocks", [(DECODER, 2), (BOTTLENECK, 4), (BOTTLENECK, 2)])
def test_blocks_start_with_a_pre_activation_as_wide_as_that_of_a_dense_layer(bottleneck, blocks):
    few = dataclasses.replace(bottleneck, blocks=blocks)
    data = sampler(of(few, 400))
    dense, start = (initialise([b] * 400, data, torch.float64).W_in for b in (bottleneck, few))
    there = block_mask(blocks, *start.shape[1:])
    assert torch.equal(start != 0, there.expand_as(start))
    assert torch.allclose(start[:, there], dense[:, there] * math.sqrt(blocks), rtol=1e-12)
    assert start.square().mean().item() == pytest.approx(dense.square().mean().item(), rel=0.05)


@pytest.mark.parametrize("bottleneck", [DECODER, BOTTLENECK], ids=["decoder", "tied"])
@pytest.mark.parametrize("optimizer", [Adam(), SGD(), RotatedAdam()])
def test_what_a_block_diagonal_matrix_has_not_got_stays_0_whatever_the_optimizer(bottleneck, optimizer):
    few = dataclasses.replace(bottleneck, blocks=2, gated=True)
    (began,) = (start(es, sampler(es)) for es in [of(few)])
    ended = train(of(few, optimizer=optimizer, weight_decay=0.1)).parameters
    for name in ("W_in", "W_gate"):
        W = ended.present()[name]
        there = block_mask(2, *W.shape[1:])
        assert torch.equal(W != 0, there.expand_as(W)), name
        assert (W != began.present()[name])[:, there].all()


def test_a_block_diagonal_layer_is_layers_side_by_side():
    """Each block alone, on its own part of the inputs, in NumPy."""
    few = dataclasses.replace(BOTTLENECK, blocks=2, layer_norm=None)
    (p,) = (train(of(few, 1)).parameters for _ in range(1))
    x = sampler(of(few, 1)).evaluation(0, 64)
    mid = forward(few, p, x).mid[0].numpy()
    assert p.b_in is not None
    for block in range(2):
        rows, columns = slice(2 * block, 2 * block + 2), slice(4 * block, 4 * block + 4)
        z = p.W_in[0, rows, columns].numpy() @ x[0, columns].numpy() + p.b_in[0, rows].numpy()[:, None]
        np.testing.assert_allclose(mid[rows], np.maximum(z, 0), rtol=1e-5, atol=1e-6)


def test_the_largest_are_those_of_a_sort_and_equal_ones_are_all_or_none():
    size = torch.randn(3, 7, 50, generator=torch.Generator().manual_seed(0)).abs()
    for k in range(1, 8):
        kept = largest(size, k)
        assert (kept.sum(1) == k).all()
        assert torch.equal(torch.where(kept, size, 0.0).sort(1).values[:, 7 - k :], size.sort(1).values[:, 7 - k :])
    assert largest(torch.tensor([2.0, 1, 1, 0])[None, :, None], 2)[0, :, 0].tolist() == [True, True, True, False]
    assert largest(torch.tensor([torch.nan, 1, 3, 2])[None, :, None], 1)[0, 0, 0]


@pytest.mark.parametrize("activation, norm", [(SoLU(), LayerNorm()), (Linear(), None), (GeLU(), None)])
def test_top_k_keeps_the_largest_of_mid_before_the_layer_norm(activation, norm):
    dense = dataclasses.replace(DECODER, activation=activation, layer_norm=norm)
    kept = dataclasses.replace(dense, top_k=2)
    es = of(kept)
    parameters, x = train(es).parameters, sampler(es).evaluation(0, 128)
    whole, taps = forward(dense, parameters, x), forward(kept, parameters, x)
    size = whole.mid.abs().numpy()
    place = np.argsort(-size, axis=1, kind="stable")[:, :2]
    expected = np.zeros_like(size)
    np.put_along_axis(expected, place, np.take_along_axis(whole.mid.numpy(), place, 1), 1)
    filled = x.abs().amax(1) > 0  # of nothing at all, neurons may be equal
    assert np.array_equal(taps.mid.numpy().transpose(0, 2, 1)[filled], expected.transpose(0, 2, 1)[filled])
    assert torch.equal(taps.pre, whole.pre)
    if norm is not None:
        a = taps.mid.double()
        eps = 1e-5
        post = (a - a.mean(1, keepdim=True)) / (a.var(1, keepdim=True, correction=0) + eps).sqrt()
        assert parameters.ln_gain is not None
        assert parameters.ln_bias is not None
        post = post * parameters.ln_gain[:, :, None] + parameters.ln_bias[:, :, None]
        torch.testing.assert_close(taps.post.double(), post, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("same", [{"blocks": 1}, {"top_k": 6}, {"blocks": 1, "top_k": 6}], ids=str)
def test_one_block_and_all_neurons_kept_are_the_dense_layer_bit_for_bit(same):
    dense, other = (train(of(b), engine="autograd") for b in (DECODER, dataclasses.replace(DECODER, **same)))
    for name, tensor in dense.parameters.present().items():
        assert torch.equal(tensor, other.parameters.present()[name]), name
    assert torch.equal(dense.curve, other.curve)


@pytest.mark.parametrize(
    "changes, n, sentence",
    [
        ({"blocks": 4}, 8, "blocks: expected a divisor of hidden, 6, got 4"),
        ({"blocks": 3}, 8, "blocks: expected a divisor of the size of the embedding, 4, got 3"),
        ({"blocks": 3, "embedding": None}, 8, "blocks: expected a divisor of the size of features, 8, got 3"),
        ({"top_k": 7}, 8, "top_k: expected at most as many as there are neurons, 6, got 7"),
        ({"experts": 5}, 8, "experts: expected a divisor of hidden, 6, got 5"),
        ({"experts": 2, "blocks": 2}, 8, "experts: every expert reads all inputs"),
        ({"experts": 2, "layer_norm": LayerNorm()}, 8, "experts: SoLU and LayerNorm are over all neurons"),
        ({"experts": 2, "activation": SoLU()}, 8, "experts: SoLU and LayerNorm are over all neurons"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_a_sentence(changes, n, sentence):
    with pytest.raises(ValueError, match=sentence):
        Experiment(Features(n, 0.3), dataclasses.replace(DECODER, **changes))
