"""Elementary functions of rows, to float32 precision: exp, logistic, log, the normal distribution, erf's inverse.

Each is an argument reduction and a polynomial. Unless a source is named the polynomials are minimax fits made for this
file (linear programming over Chebyshev points); the tests hold every function against SciPy's in float64.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import absolute, bits, fma, sqrt, where

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""ln 2 in two parts: the first has few bits, so that its product with a whole number is exact."""
ROUNDING = np.float32(1.5 * 2.0**23)
"""Added to a small float32, it leaves the nearest whole number in the lowest bits."""
ROUNDING_BITS = np.uint32(0x4B400000)
LARGEST_BELOW_ONE = np.float32(1 - 2.0**-24)


@inner
def _reduced(x):
    """e^x = 2^n (1 + p): n as words modulo 2^32, and the row p, |p| < 0.42."""
    shifted = fma(x, LOG2_E, ROUNDING)
    n = shifted - ROUNDING
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    q = fma(r, np.float32(1.3815095881e-3), np.float32(8.3687258884e-3))
    q = fma(q, r, np.float32(4.1668377817e-2))
    q = fma(q, r, np.float32(1.6666521132e-1))
    q = fma(q, r, np.float32(4.9999994040e-1))
    return bits(shifted) - ROUNDING_BITS, fma(q * r, r, r)


@inner
def _power_of_two(n):
    """2^n for whole -126 <= n <= 127."""
    return bits((n + np.uint32(127)) << np.uint32(23))


@inner
def _clipped(x, low, high):
    """x within [low, high]; NaN stays NaN."""
    x = where(x < np.float32(low), np.float32(low), x)
    return where(x > np.float32(high), np.float32(high), x)


@inner
def exp(x):
    """e^x; infinity from 88.73 on, 0 below -104."""
    n, p = _reduced(_clipped(x, -104, 89))
    half = ((n + np.uint32(1024)) >> np.uint32(1)) - np.uint32(512)  # so that neither power under- nor overflows
    return fma(p, _power_of_two(half), _power_of_two(half)) * _power_of_two(n - half)


@inner
def expm1(x):
    """e^x - 1 for x <= 0, precise near 0."""
    n, p = _reduced(_clipped(x, -87, 0))
    scale = _power_of_two(n)
    return fma(scale, p, scale - np.float32(1))


@inner
def logistic(x):
    """1 / (1 + e^-x)."""
    return np.float32(1) / (np.float32(1) + exp(np.float32(0) - x))


@inner
def log1p(x):
    """log(1 + x) for -1 < x, precise near 0."""
    u = x + np.float32(1)
    lost = x - (u - np.float32(1))  # what rounding took from u
    word = bits(u) - np.uint32(0x3F3504F3)  # u = 2^n (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
    n = bits((word >> np.uint32(23)) + (ROUNDING_BITS + np.uint32(256))) - (ROUNDING + np.float32(256))
    n = where(n > np.float32(255), n - np.float32(512), n)
    f = bits((word & np.uint32(0x7FFFFF)) + np.uint32(0x3F3504F3)) - np.float32(1)
    q = fma(f, np.float32(-0.07636745274), np.float32(0.1276278049))
    q = fma(q, f, np.float32(-0.131598562))
    q = fma(q, f, np.float32(0.1420156211))
    q = fma(q, f, np.float32(-0.1662337333))
    q = fma(q, f, np.float32(0.200012356))
    q = fma(q, f, np.float32(-0.2500081956))
    q = fma(q, f, np.float32(0.3333333135))
    square = f * f
    log_f = fma(q * f, square, fma(np.float32(-0.5), square, f))
    return fma(n, LN2_HIGH, fma(n, LN2_LOW, log_f)) + lost / u


@inner
def normal(z):
    """The standard normal distribution: (Phi(z), phi(z)), both with small relative error in the lower tail too.

    The upper tail is e^(-z^2/2) G(|z|), with G smooth: a polynomial of 1 / (1 + 0.3 |z|).
    """
    size = absolute(z)
    t = np.float32(1) / fma(size, np.float32(0.3), np.float32(1))
    bell = exp(np.float32(-0.5) * z * z)
    g = fma(t, np.float32(0.03837824985), np.float32(-0.1691659391))
    g = fma(g, t, np.float32(0.228659749))
    g = fma(g, t, np.float32(-0.0765061453))
    g = fma(g, t, np.float32(0.1425353289))
    g = fma(g, t, np.float32(0.094683595))
    g = fma(g, t, np.float32(0.1219203249))
    g = fma(g, t, np.float32(0.1194876879))
    g = fma(g, t, np.float32(7.168786851e-6))
    tail = bell * g
    return where(z < np.float32(0), tail, np.float32(1) - tail), bell * np.float32(0.3989422804014327)


@inner
def erfinv(v):
    """The inverse of erf on [-1 + 2^-24, 1 - 2^-24]; v beyond is cut.

    Giles 2012, *Approximating the erfinv function*, single precision.
    """
    v = _clipped(v, -LARGEST_BELOW_ONE, LARGEST_BELOW_ONE)
    size = absolute(v)
    w = np.float32(0) - log1p(np.float32(0) - size) - log1p(size)
    near, far = w - np.float32(2.5), sqrt(w) - np.float32(3)
    centre = fma(near, np.float32(2.81022636e-08), np.float32(3.43273939e-07))
    centre = fma(centre, near, np.float32(-3.5233877e-06))
    centre = fma(centre, near, np.float32(-4.39150654e-06))
    centre = fma(centre, near, np.float32(0.00021858087))
    centre = fma(centre, near, np.float32(-0.00125372503))
    centre = fma(centre, near, np.float32(-0.00417768164))
    centre = fma(centre, near, np.float32(0.246640727))
    centre = fma(centre, near, np.float32(1.50140941))
    tail = fma(far, np.float32(-0.000200214257), np.float32(0.000100950558))
    tail = fma(tail, far, np.float32(0.00134934322))
    tail = fma(tail, far, np.float32(-0.00367342844))
    tail = fma(tail, far, np.float32(0.00573950773))
    tail = fma(tail, far, np.float32(-0.0076224613))
    tail = fma(tail, far, np.float32(0.00943887047))
    tail = fma(tail, far, np.float32(1.00167406))
    tail = fma(tail, far, np.float32(2.83297682))
    return where(w < np.float32(5), centre, tail) * v
