"""The hidden layer on a tile: activations and LayerNorm with their derivatives, [neuron, sample].

`toymodels.activations` and `toymodels.layer_norm` have the equations. A forward pass leaves what its backward pass
needs: ``slope`` is f'(z), or the softmax for SoLU, whose Jacobian is not diagonal. ``there`` says which rows are
neurons; the others are 0 at every tap.
"""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import expm1, logistic, nan_like, normal


@triton.jit
def activate(z, there, form: tl.constexpr):
    """mid = act(z), and its slope; NaN for an activation that is not listed here."""
    if form.activation == "linear":
        return z, tl.full(z.shape, 1.0, tl.float32)
    elif form.activation == "relu":
        return tl.where(z <= 0, 0.0, z), tl.where(z > 0, 1.0, 0.0)
    elif form.activation == "gelu":
        cdf, density = normal(z)
        return z * cdf, z * density + cdf
    elif form.activation == "solu":
        s = _softmax(z, there)
        return z * s, s
    elif form.activation == "silu":
        s = logistic(z)
        return z * s, s * (z * (1 - s) + 1)
    elif form.activation == "elu":
        below = expm1(tl.where(z > 0, 0.0, z))
        return tl.where(z > 0, z, below), tl.where(z > 0, 1.0, below + 1)
    elif form.activation == "xexp":
        e = tl.exp(z)
        return z * e, z * e + e
    else:
        return nan_like(z), nan_like(z)


@triton.jit
def _softmax(z, there):
    """Over the neurons; 0 where there is none."""
    largest = tl.max(tl.where(there, z, -float("inf")), 0)
    e = tl.where(there, tl.exp(z - largest[None, :]), 0.0)
    return e * (1 / tl.sum(e, 0))[None, :]


@triton.jit
def activate_backward(z, mid, slope, g, form: tl.constexpr):
    """dL/dz, from dL/dmid ``g``."""
    if form.activation == "linear":
        return g
    elif form.activation == "solu":
        return slope * (g * z + g - tl.sum(g * mid, 0)[None, :])
    else:
        return g * slope


@triton.jit
def normalise(mid, there, eps, form: tl.constexpr):
    """(mid - mean) factor, factor = 1 / sqrt(var + eps), over the neurons; and the factor, [sample].

    An all-equal mid gives 0 at every eps: its first neuron is subtracted before anything else.
    """
    first = tl.sum(tl.where(tl.arange(0, form.M)[:, None] == 0, mid, 0.0), 0)
    centred = tl.where(there, mid - first[None, :], 0.0)
    centred = tl.where(there, centred - (tl.sum(centred, 0) / form.m)[None, :], 0.0)
    variance = tl.sum(centred * centred, 0) / form.m + eps
    factor = tl.where(variance == 0, 0.0, 1 / tl.sqrt(variance))
    return centred * factor[None, :], factor


@triton.jit
def normalise_backward(unit, factor, g, there, form: tl.constexpr):
    """dL/dmid, from dL/dunit ``g``."""
    mean = tl.sum(g, 0) / form.m
    along = tl.sum(g * unit, 0) / form.m
    return tl.where(there, factor[None, :] * (g - mean[None, :] - unit * along[None, :]), 0.0)
