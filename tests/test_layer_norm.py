"""LayerNorm acts example by example: what it does to one depends on no other. The same check catches a batch norm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toymodels import Bottleneck, LayerNorm, Linear, SoLU, forward
from toymodels.bottleneck import Parameters, live_norm
from toymodels.layer_norm import apart_from_common, centred, normalise

Norm = Callable[[Tensor], Tensor]


def company_matters(norm: Norm, a: Tensor) -> float:
    """The largest change of any example of a [model, hidden, batch] with the others gone, reversed, or replaced."""
    whole = norm(a)
    alone = torch.cat([norm(a[:, :, k : k + 1]) for k in range(a.shape[2])], 2)
    reversed_ = norm(a.flip(2)).flip(2)
    replaced = norm(torch.cat([a, 100 * a.square() + 1], 2))[:, :, : a.shape[2]]
    return max(float((whole - other).abs().max()) for other in (alone, reversed_, replaced))


def batch_norm(a: Tensor) -> Tensor:
    return (a - a.mean(2, keepdim=True)) / (a.var(2, correction=0, keepdim=True) + 1e-5).sqrt()


def whole_norm(a: Tensor) -> Tensor:
    """Neurons centred example by example, and one scale for all of a batch."""
    return centred(a) / centred(a).square().mean((1, 2), keepdim=True).add(1e-5).sqrt()


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(2, 9), st.sampled_from([0.0, 1e-12, 1e-5, 0.1]))
def test_layer_norm_acts_on_each_example_alone(seed: int, hidden: int, batch: int, eps: float) -> None:
    a = torch.randn(2, hidden, batch, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert company_matters(lambda each: normalise(each, eps, dim=1), a) <= 1e-12
    layer = Bottleneck(hidden, Linear(), LayerNorm(eps))
    p = Parameters(torch.zeros(2, hidden, 1).double(), ln_eps=torch.full((2,), eps, dtype=torch.float64))
    norm = live_norm(layer, p)
    assert norm is not None
    assert company_matters(norm, a) <= 1e-12


@pytest.mark.parametrize("norm", [batch_norm, whole_norm])
def test_a_norm_over_the_batch_is_caught(norm: Norm) -> None:
    a = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert company_matters(norm, a) > 0.1


def test_a_whole_model_acts_on_each_example_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    p = Parameters(torch.randn(2, 5, 6, generator=generator).double(), ln_eps=torch.full((2,), 1e-5).double())
    layer = Bottleneck(5, SoLU(), LayerNorm(affine=False), output_bias=False)
    x = torch.rand(2, 6, 8, generator=generator).double()
    assert company_matters(lambda each: forward(layer, p, each).out, x) <= 1e-12


def test_what_is_apart_from_the_common_part_has_the_angles_of_what_is_centred() -> None:
    a = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    apart = apart_from_common(a + torch.randn(2, 1, 3, 4))
    assert apart.shape == (2, 4, 3, 4)
    of_apart, of_centred = (torch.einsum("mkij,mkil->mijl", each, each) for each in (apart, centred(a)))
    torch.testing.assert_close(of_apart, of_centred)
    assert apart_from_common(a[:, :1]).shape == (2, 0, 3, 4)
