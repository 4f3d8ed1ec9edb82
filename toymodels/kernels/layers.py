"""Layers: activations and LayerNorm on the rows of a tile, with their derivatives.

`toymodels.activations` and `toymodels.layer_norm` have the equations and are the reference. Every function works on
``m`` rows of float32 pointers. A forward pass leaves what its backward pass needs: ``slope`` is f'(z), or the softmax
for SoLU, whose Jacobian is not diagonal.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.elementary import exp, expm1, logistic, normal
from toymodels.kernels.vector import LANES, NATIVE, at, dot, fma, fold, load, load_native, splat, sqrt, store, where

LINEAR, RELU, GELU, SOLU, SILU, ELU, XEXP = range(7)
ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)


@inner
def _exponential_of(code, z):
    """The functions that need one, f(z) and f'(z); NaN for a code that is not listed above."""
    if code == GELU:
        cdf, density = normal(z)
        return z * cdf, fma(z, density, cdf)
    if code == SILU:
        s = logistic(z)
        return z * s, s * fma(z, ONE - s, ONE)
    if code == ELU:
        below = expm1(z)
        positive = z > ZERO
        return where(positive, z, below), where(positive, ONE, below + ONE)
    if code == XEXP:
        e = exp(z)
        return z * e, fma(z, e, e)
    return splat(NAN), splat(NAN)


@inner
def activate(code, m, z, mid, slope):
    """mid = act(z), and its slope."""
    if code == SOLU:
        _softmax(m, z, mid, slope)
        return
    for k in range(0, m * LANES, LANES):
        v = load(z, k)
        if code == LINEAR:
            f, df = v, splat(ONE)
        elif code == RELU:
            f, df = where(v <= ZERO, ZERO, v), where(v > ZERO, ONE, splat(ZERO))
        else:
            f, df = _exponential_of(code, v)
        store(mid, k, f)
        store(slope, k, df)


@inner
def _softmax(m, z, mid, s):
    """s = softmax(z) and mid = z s, over the neurons."""
    largest = load(z, 0)
    for k in range(LANES, m * LANES, LANES):
        v = load(z, k)
        largest = where(v > largest, v, largest)
    sum_ = splat(ZERO)
    for k in range(0, m * LANES, LANES):
        e = exp(load(z, k) - largest)
        store(s, k, e)
        sum_ = sum_ + e
    scale = ONE / sum_
    for k in range(0, m * LANES, LANES):
        share = load(s, k) * scale
        store(s, k, share)
        store(mid, k, load(z, k) * share)


@inner
def activate_backward(code, m, z, mid, slope, g):
    """From dL/dmid in ``g`` to dL/dz in ``g``."""
    if code == SOLU:
        inner_product = splat(ZERO)
        for k in range(0, m * LANES, LANES):
            inner_product = fma(load(g, k), load(mid, k), inner_product)
        for k in range(0, m * LANES, LANES):
            v = load(g, k)
            store(g, k, load(slope, k) * (fma(v, load(z, k), v) - inner_product))
    elif code != LINEAR:
        for k in range(0, m * LANES, LANES):
            store(g, k, load(g, k) * load(slope, k))


@inner
def normalise(m, mid, eps, unit, scale):
    """unit = (mid - mean) / sqrt(var + eps) over the neurons; ``scale`` keeps the factor, one row.

    An all-equal mid gives 0 at every eps: its first neuron is subtracted before anything else.
    """
    first, mean = load(mid, 0), splat(ZERO)
    for k in range(0, m * LANES, LANES):
        centred = load(mid, k) - first
        store(unit, k, centred)
        mean = mean + centred
    mean = mean / np.float32(m)
    variance = splat(ZERO)
    for k in range(0, m * LANES, LANES):
        centred = load(unit, k) - mean
        store(unit, k, centred)
        variance = fma(centred, centred, variance)
    variance = variance / np.float32(m) + eps
    factor = where(variance == ZERO, ZERO, ONE / sqrt(variance))
    store(scale, 0, factor)
    for k in range(0, m * LANES, LANES):
        store(unit, k, load(unit, k) * factor)


@inner
def affine(m, unit, theta, gain, bias, post):
    """post = gain unit + bias."""
    for k in range(m):
        row = k * LANES
        store(post, row, fma(splat(at(theta, gain + k)), load(unit, row), splat(at(theta, bias + k))))


@inner
def affine_backward(m, unit, theta, gain, g, gain_sums, bias_sums, sums):
    """From dL/dpost in ``g`` to dL/dunit in ``g``; partial sums of the gain's and the bias's gradient are added up."""
    for k in range(m):
        row, place = k * LANES, k * NATIVE
        v = load(g, row)
        store(sums, gain_sums + place, dot(v, load(unit, row), load_native(sums, gain_sums + place)))
        store(sums, bias_sums + place, load_native(sums, bias_sums + place) + fold(v))
        store(g, row, v * at(theta, gain + k))


@inner
def normalise_backward(m, unit, scale, g):
    """From dL/dunit in ``g`` to dL/dmid in ``g``."""
    mean, along = splat(ZERO), splat(ZERO)
    for k in range(0, m * LANES, LANES):
        v = load(g, k)
        mean = mean + v
        along = fma(v, load(unit, k), along)
    mean, along = mean / np.float32(m), along / np.float32(m)
    factor = load(scale, 0)
    for k in range(0, m * LANES, LANES):
        store(g, k, factor * (load(g, k) - mean - load(unit, k) * along))
