"""Activations and LayerNorm: values, derivatives against float64 autograd, identities, symmetries, extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit
from scipy.stats import norm

from toymodels import SoLU, XExp
from toymodels.activations import ACTIVATIONS, Elementwise
from toymodels.layer_norm import normalise

FAMILY = list(ACTIVATIONS.values())
EVERY = pytest.mark.parametrize("activation", FAMILY, ids=lambda a: a.name)
ORACLES = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "gelu": lambda z: z * norm.cdf(z),
    "silu": lambda z: z * expit(z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "xexp": lambda z: z * np.exp(z),
    "solu": lambda z: z * np.exp(z) / np.exp(z).sum(-1, keepdims=True),
}


def vectors(largest=6.0, size=5):
    return arrays(np.float64, (3, size), elements=st.floats(-largest, largest, allow_subnormal=False))


@EVERY
@given(vectors())
def test_value_is_the_equation(activation, z):
    assert np.allclose(activation(torch.tensor(z)).numpy(), ORACLES[activation.name](z), rtol=1e-12, atol=1e-14)


@EVERY
@given(vectors(), vectors())
def test_derivative_is_float64_autograd(activation, z, v):
    z = np.where(np.abs(z) < 1e-3, 0.5, z)  # ReLU and ELU have a kink at 0
    z, v = torch.tensor(z), torch.tensor(v)
    expected = torch.func.jvp(activation, (z,), (v,))[1]
    assert torch.allclose(activation.jvp(z, v), expected, rtol=1e-9, atol=1e-12)
    if isinstance(activation, Elementwise):
        assert torch.allclose(activation.derivative(z) * v, expected, rtol=1e-9, atol=1e-12)


@EVERY
@given(vectors(), st.permutations(range(5)))
def test_permuting_neurons_permutes_the_output(activation, z, order):
    z = torch.tensor(z)
    assert torch.allclose(activation(z[:, order]), activation(z)[:, order], rtol=1e-12, atol=1e-15)


@EVERY
@given(vectors())
def test_the_axis_is_the_one_named(activation, z):
    z = torch.tensor(z)
    assert torch.allclose(activation(z.T.contiguous(), dim=0), activation(z).T, rtol=1e-12, atol=1e-15)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_nan_at_extremes(activation, dtype):
    rows = [[1e4, -1e4, 0.0, 1.0], [1e4] * 4, [-1e4] * 4, [0.0] * 4, [-0.0] * 4, [1e-45, -1e-45, 1e-40, 0], [3.0] * 4]
    z = torch.tensor(rows, dtype=dtype)
    out = activation(z)
    assert not out.isnan().any()
    finite = out.isfinite().all(1)
    assert finite.all() or isinstance(activation, XExp)
    z = z[finite].requires_grad_()
    assert not activation.jvp(z.detach(), torch.ones_like(z)).isnan().any()
    (gradient,) = torch.autograd.grad(activation(z).sum(), z)
    assert not gradient.isnan().any()


@pytest.mark.parametrize(
    "z, expected",
    [
        ((4, 1, 4, 1), (1.905148, 0.023713, 1.905148, 0.023713)),
        ((4, 0, 0, 0), (3.791660, 0, 0, 0)),
        ((1, 1, 1, 1), (0.25, 0.25, 0.25, 0.25)),
    ],
)
def test_solu_examples(z, expected):
    assert torch.allclose(SoLU()(torch.tensor(z, dtype=torch.float64)), torch.tensor(expected).double(), atol=5e-7)


def test_solu_is_x_over_m_near_zero():
    z = torch.full((16,), 1e-6, dtype=torch.float64)
    assert torch.allclose(SoLU()(z), z / 16, rtol=1e-5)


@given(vectors())
def test_layer_norm_removes_solus_denominator(z):
    z = torch.tensor(z)
    largest = XExp()(z).abs().amax(-1)
    spread = XExp()(z).var(-1, correction=0).sqrt() / largest.clamp(min=1e-300)
    z = z[(spread > 1e-6) & (largest > 1e-100)]  # squares of what is smaller underflow
    assert torch.allclose(normalise(SoLU()(z), 0.0), normalise(XExp()(z), 0.0), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("a", [1e-3, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("m", [2, 7, 16])
def test_layer_norm_erases_the_amplitude_of_a_lone_neuron(a, m):
    z = torch.zeros(m, dtype=torch.float64)
    z[1] = a
    expected = torch.full((m,), -1 / math.sqrt(m - 1), dtype=torch.float64)
    expected[1] = math.sqrt(m - 1)
    assert torch.allclose(normalise(SoLU()(z), 0.0), expected, rtol=1e-9)


def test_a_one_neuron_feature_has_alignment_one_at_mid_and_a_half_at_post():
    a = torch.zeros(16, dtype=torch.float64)
    a[3] = 2.0
    post = normalise(a, 0.0)
    assert (a.abs().max() / a.abs().sum()).item() == 1
    assert (post.abs().max() / post.abs().sum()).item() == pytest.approx(0.5)


@given(vectors(), st.floats(0.1, 100), st.floats(-50, 50))
def test_layer_norm_ignores_scale_and_shift_at_eps_zero(a, scale, shift):
    a = torch.tensor(a)
    a = a[a.std(-1) > 1e-3]
    assert torch.allclose(normalise(a * scale + shift, 0.0), normalise(a, 0.0), rtol=1e-6, atol=1e-6)


@given(vectors(), st.sampled_from([0.0, 1e-12, 1e-5, 0.1]))
def test_layer_norm_is_torchs(a, eps):
    a = torch.tensor(a)
    a = a[a.std(-1) > 1e-3]
    assert torch.allclose(normalise(a, eps), torch.nn.functional.layer_norm(a, (5,), eps=eps), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("eps", [0.0, 1e-12, 1e-5])
@pytest.mark.parametrize("value", [0.0, -0.0, 1e4, -1e4, 0.1, 1e-40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layer_norm_of_an_all_equal_layer_is_zero(eps, value, dtype):
    a = torch.full((4, 16), value, dtype=dtype, requires_grad=True)
    out = normalise(a, eps)
    assert torch.equal(out, torch.zeros_like(out))
    (gradient,) = torch.autograd.grad(out.square().sum() + out.sum(), a)
    assert gradient.isfinite().all()


def test_every_feature_has_the_same_length_after_layer_norm():
    torch.manual_seed(0)
    for activation in FAMILY:
        z = torch.randn(12, 16, dtype=torch.float64)
        lengths = torch.linalg.vector_norm(normalise(activation(z), 0.0), dim=-1)
        assert torch.allclose(lengths, torch.full_like(lengths, 4.0), rtol=1e-9)
