"""Contributors: counted by hand, and unmoved by what changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from toymodels import Bottleneck, GeLU, LayerNorm, Linear, Parameters, ReLU
from toymodels.metrics.contributors import effective_contributors

LAYER = Bottleneck(3, ReLU(), output=Linear(), tied=False)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_one_neuron_a_feature_is_one_and_as_many_as_say_as_much() -> None:
    one = Parameters(W_in=torch.eye(3)[None], W_out=torch.eye(3)[None])
    assert effective_contributors(LAYER, one, torch.eye(3)[None]).tolist() == [1]
    assert effective_contributors(LAYER, one, torch.ones(1, 3, 1)).tolist() == [3]
    spread = Parameters(W_in=torch.ones(1, 3, 3), W_out=torch.ones(1, 3, 3))
    assert effective_contributors(LAYER, spread, torch.eye(3)[None]).tolist() == pytest.approx([3])


def test_empty_examples_are_left_out_and_silence_counts_nothing() -> None:
    one = Parameters(W_in=torch.eye(3)[None], W_out=torch.eye(3)[None])
    x = torch.tensor([[[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert effective_contributors(LAYER, one, x).tolist() == [0.5]
    assert effective_contributors(LAYER, one, torch.zeros(1, 3, 2)).isnan().all()


def test_it_is_its_definition_example_by_example() -> None:
    layer = dataclasses.replace(LAYER, activation=GeLU())
    p, x = Parameters(W_in=random(2, 3, 4, seed=1), W_out=random(2, 4, 3, seed=2)), random(2, 4, 9, seed=3)
    expected = []
    for k in range(2):
        mid = torch.nn.functional.gelu(p.W_in[k] @ x[k]).abs() * p.decoder[k].norm(dim=0)[:, None]
        expected.append(torch.stack([column.sum() ** 2 / (column**2).sum() for column in mid.T]).mean())
    torch.testing.assert_close(effective_contributors(layer, p, x), torch.stack(expected))


def test_scale_and_order_of_neurons_change_nothing() -> None:
    p, x = Parameters(W_in=random(2, 3, 4, seed=1), W_out=random(2, 4, 3, seed=2)), random(2, 4, 9, seed=3)
    before = effective_contributors(LAYER, p, x)
    size, order = torch.tensor([0.1, 2.0, 30.0]), [2, 0, 1]
    rescaled = Parameters(W_in=p.W_in * size[:, None], W_out=p.decoder / size)
    torch.testing.assert_close(effective_contributors(LAYER, rescaled, x), before)
    shuffled = Parameters(W_in=p.W_in[:, order], W_out=p.decoder[:, :, order])
    torch.testing.assert_close(effective_contributors(LAYER, shuffled, x), before)


def test_layer_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="without LayerNorm"):
        effective_contributors(
            dataclasses.replace(LAYER, layer_norm=LayerNorm()), Parameters(W_in=random(1, 3, 4)), random(1, 4, 2)
        )
