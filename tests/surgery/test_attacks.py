"""Attacks: they find what is known to be there, and never more than there is."""

from __future__ import annotations

import math

import pytest
import torch

from toymodels import Bottleneck, Embedding, GeLU, Linear, Parameters, ReLU, SoLU
from toymodels.metrics.vulnerability import input_slopes, raised
from toymodels.surgery.attacks import found_by_ascent


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("output", [Linear(), ReLU()])
@pytest.mark.parametrize("radius", [0.05, 0.5, 3.0])
def test_of_an_affine_layer_it_finds_what_there_is(output, radius) -> None:
    bottleneck = Bottleneck(3, output=output)
    p = Parameters(W_in=random(2, 3, 6, seed=1), b_out=0.3 * random(2, 6, seed=2))
    x = random(2, 6, 20, seed=3).abs()
    there, found = raised(bottleneck, p, x, radius), found_by_ascent(bottleneck, p, x, radius)
    torch.testing.assert_close(found, there)


@pytest.mark.parametrize("activation", [GeLU(), SoLU()])
def test_a_short_one_is_worth_the_slope(activation) -> None:
    bottleneck = Bottleneck(4, activation, output=Linear(), tied=False, hidden_bias=True, embedding=Embedding(3))
    p = Parameters(
        W_in=random(2, 4, 3, seed=1),
        W_out=random(2, 6, 4, seed=2),
        b_in=random(2, 4, seed=3),
        b_out=random(2, 6, seed=4),
        E=random(2, 3, 6, seed=5),
    )
    x, radius = random(2, 6, 20, seed=6), 1e-5
    found = found_by_ascent(bottleneck, p, x, radius)
    torch.testing.assert_close(found / radius, input_slopes(bottleneck, p, x), rtol=1e-3, atol=1e-3)


def test_a_threshold_that_has_no_slope_is_overcome_by_what_is_long_enough() -> None:
    """A neuron that is off: y_0 = relu(x_0 - .3), at x = 0; a linear one has no way down below the corner."""
    bottleneck = Bottleneck(1, ReLU(), output=Linear(), tied=False, hidden_bias=True, output_bias=False)
    W_in, W_out = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0], [0.0]]])
    p = Parameters(W_in=W_in, W_out=W_out, b_in=torch.tensor([[-0.3]]))
    x = torch.zeros(1, 2, 1)
    assert input_slopes(bottleneck, p, x).sum() == 0
    assert found_by_ascent(bottleneck, p, x, 0.2).sum() == 0
    assert found_by_ascent(bottleneck, p, x, 0.5)[0, :, 0].tolist() == pytest.approx([0.2, 0.0])


def test_targets_that_are_not_features_are_attacked_too() -> None:
    bottleneck = Bottleneck(2, output=Linear(), tied=False, output_bias=False)
    p = Parameters(W_in=random(1, 2, 4, seed=1), W_out=random(1, 3, 2, seed=2))
    x = random(1, 4, 5, seed=3)
    torch.testing.assert_close(found_by_ascent(bottleneck, p, x, 0.1), raised(bottleneck, p, x, 0.1))
    assert not math.isnan(found_by_ascent(bottleneck, p, x, 0.0).sum())
