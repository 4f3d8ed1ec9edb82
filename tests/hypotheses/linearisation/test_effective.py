"""Effective maps: what surgery leaves, as a matrix; exact at the point and wherever the mask is the same."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tests.hypotheses.linearisation.conftest import (
    M,
    data_of,
    experiments_of,
    parameters_of,
    with_gauge,
    with_neurons_in_order,
)
from toymodels import Activation, Bottleneck, LayerNorm, Linear, Parameters, ReLU, SoLU, forward
from toymodels.activations import ACTIVATIONS
from toymodels.hypotheses.linearisation.effective import effective_maps
from toymodels.hypotheses.linearisation.freezing import affine_freeze, freezes, frozen


@pytest.mark.parametrize("norm", [None, LayerNorm(), LayerNorm(1e-12, affine=False)], ids=["bare", "LN", "plain LN"])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=lambda each: each.name)
def test_the_maps_are_what_freezing_leaves(activation: Activation, norm: LayerNorm | None) -> None:
    experiments = experiments_of(activation, norm, binary=False)
    b, p = experiments[0].bottleneck, parameters_of(experiments)
    at, x = data_of(experiments, 8), data_of(experiments, 16, 64)
    maps = effective_maps(b, p, at)
    what = freezes(b)[affine_freeze(b)]
    for point in range(8):
        expected = frozen(b, p, at[:, :, point : point + 1], x, what).readout
        torch.testing.assert_close(maps(x)[:, point], expected, rtol=1e-10, atol=1e-10)
    own = maps(at).diagonal(dim1=1, dim2=3).transpose(1, 2)
    torch.testing.assert_close(own.transpose(1, 2), forward(b, p, at).readout, rtol=1e-10, atol=1e-10)


def test_a_tied_bottleneck_without_biases_has_maps_too() -> None:
    layer = Bottleneck(3, ReLU(), output=Linear(), output_bias=False)
    W = torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.rand(1, 5, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    maps = effective_maps(layer, Parameters(W), x)
    assert (maps.c == 0).all()
    mask = (W @ x > 0).double()
    for point in range(9):
        torch.testing.assert_close(maps.B[:, point], W.transpose(1, 2) @ (mask[:, :, point, None] * W))


def test_relus_map_is_the_same_wherever_its_mask_is() -> None:
    experiments = experiments_of(ReLU(), binary=False)
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 200)
    maps, mask = effective_maps(b, p, x), forward(b, p, x).pre[0] > 0
    _, place = np.unique(mask.numpy(), axis=1, return_inverse=True)
    groups = [np.flatnonzero(place.ravel() == each) for each in range(place.max() + 1)]
    assert len(groups) > 3
    for group in groups:
        assert torch.equal(maps.B[0, group], maps.B[0, group[:1]].expand(len(group), -1, -1))
    kinds = torch.stack([maps.B[0, group[0]] for group in groups])
    assert len(torch.unique(kinds.round(decimals=9), dim=0)) == len(groups)


def test_what_layer_norm_deletes_is_in_no_map() -> None:
    experiments = experiments_of(Linear(), LayerNorm())
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 8)
    one, other = (effective_maps(b, each, x) for each in (p, with_gauge(p)))
    torch.testing.assert_close(one.B, other.B)
    torch.testing.assert_close(one.c, other.c)


def test_the_order_of_neurons_means_nothing_and_that_of_features_is_the_columns() -> None:
    experiments = experiments_of(SoLU(), LayerNorm())
    b, p, x = experiments[0].bottleneck, parameters_of(experiments), data_of(experiments, 8)
    expected = effective_maps(b, p, x)
    neurons = effective_maps(b, with_neurons_in_order(p, np.random.default_rng(0).permutation(M)), x)
    torch.testing.assert_close(neurons.B, expected.B)
    assert p.E is not None
    order = torch.from_numpy(np.random.default_rng(1).permutation(x.shape[1]))
    features = effective_maps(b, dataclasses.replace(p, E=p.E[:, :, order]), x[:, order])
    torch.testing.assert_close(features.B, expected.B[:, :, :, order])
