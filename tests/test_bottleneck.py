"""The bottleneck: taps against the equations, with an embedding and without."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from toymodels import (
    Bottleneck,
    Embedding,
    Features,
    GeLU,
    LayerNorm,
    Linear,
    Parameters,
    ReLU,
    Sampler,
    SoLU,
    forward,
)
from toymodels.bottleneck import directions
from toymodels.initialisation import initialise

N, M, K = 7, 4, 3
ARCHITECTURES = [
    Bottleneck(M, act, norm, output=out, output_bias=bias, tied=tied, hidden_bias=hidden_bias, embedding=embedding)
    for act in (Linear(), GeLU(), SoLU())
    for norm in (None, LayerNorm(), LayerNorm(1e-3, affine=False))
    for out, bias, tied, hidden_bias, embedding in (
        (ReLU(), True, True, False, None),
        (Linear(), False, False, True, None),
        (Linear(), True, False, True, Embedding(3)),
        (ReLU(), False, False, False, Embedding(N, trained=True)),
    )
]


def sampler(seeds: Sequence[int] = range(K), n=N, density=0.3):
    return Sampler([Features(n, density)] * len(seeds), list(seeds))


def random_parameters(bottleneck, dtype=torch.float64):
    torch.manual_seed(1)
    start = initialise([bottleneck] * K, sampler(), dtype)
    kept = {} if start.ln_eps is None else {"ln_eps": start.ln_eps}
    moved = {name: each + 0.3 * torch.randn_like(each) for name, each in start.present().items() if name not in kept}
    return Parameters(**moved, **kept)


@pytest.mark.parametrize(
    "bottleneck", ARCHITECTURES, ids=lambda b: f"{b.activation.name}-{b.layer_norm}-{b.tied}-{b.embedding}"
)
def test_taps_are_the_equations(bottleneck):
    parameters = random_parameters(bottleneck)
    x = sampler().training(0, 11).double()
    taps = forward(bottleneck, parameters, x)
    for k in range(K):
        p = {name: tensor[k].numpy() for name, tensor in parameters.present().items()}
        for b in range(x.shape[2]):
            W = sum(np.outer(p["W_in"][:, d], p["E"][d]) for d in range(len(p["E"]))) if "E" in p else p["W_in"]
            assert np.allclose(directions(parameters)[k].numpy(), W, rtol=1e-12)
            z = W @ x[k, :, b].numpy() + p.get("b_in", 0)
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


def test_tied_means_one_matrix():
    tied = initialise([Bottleneck(M)], sampler([0]))
    assert tied.W_out is None
    assert torch.equal(tied.decoder, tied.W_in.transpose(1, 2))


@pytest.mark.parametrize("embedding", [None, Embedding(3)])
def test_a_selection_keeps_every_tensor_in_step(embedding):
    bottleneck = Bottleneck(M, tied=False, hidden_bias=True, layer_norm=LayerNorm(), embedding=embedding)
    parameters = random_parameters(bottleneck)
    assert parameters.present().keys() == {*bottleneck.axes, *bottleneck.fixed}
    chosen = parameters[[2, 0]]
    for name, tensor in chosen.present().items():
        assert torch.equal(tensor, parameters.present()[name][[2, 0]])


@pytest.mark.parametrize("bottleneck", ARCHITECTURES)
def test_axes_name_what_there_is_in_its_shape(bottleneck):
    sizes = {"hidden": M, "feature": N, "target": N, "embedding": bottleneck.embedding and bottleneck.embedding.size}
    present = random_parameters(bottleneck).present()
    assert not bottleneck.axes.keys() & bottleneck.fixed.keys()
    axes = {**bottleneck.axes, **bottleneck.fixed}
    assert {name: each.shape[1:] for name, each in present.items()} == {
        name: tuple(sizes[axis] for axis in of) for name, of in axes.items()
    }
    assert random_parameters(bottleneck).trained(bottleneck).keys() == bottleneck.axes.keys()


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
