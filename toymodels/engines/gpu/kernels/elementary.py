"""Elementary functions, to float32 precision, of what Triton has itself: exp, log and square root.

The polynomials are those of `toymodels.kernels.elementary`, which says where they are from.
"""

from __future__ import annotations

import triton
import triton.language as tl

LARGEST_BELOW_ONE = tl.constexpr(1 - 2.0**-24)
LARGEST = tl.constexpr(3.4028234663852886e38)


@triton.jit
def nan_like(x):
    """NaN, of the shape of x."""
    return tl.full(x.shape, float("nan"), tl.float32)


@triton.jit
def finite(x):
    """Whether each is finite."""
    return tl.abs(x) <= LARGEST


@triton.jit
def expm1(x):
    """e^x - 1 for x <= 0. Near 0 (e - 1) x / log e, as log e errs as e does (Kahan)."""
    e = tl.exp(x)
    near = (e > 0.5) & (e != 1)
    ratio = (e - 1) * x / tl.log(tl.where(near, e, 0.5))
    return tl.where(near, ratio, tl.where(e == 1, x, e - 1))


@triton.jit
def logistic(x):
    """1 / (1 + e^-x)."""
    return 1 / (1 + tl.exp(-x))


@triton.jit
def log1p(x):
    """log(1 + x) for -1 < x, precise near 0: what rounding took from 1 + x is added."""
    u = 1 + x
    return tl.log(u) + (x - (u - 1)) / u


@triton.jit
def normal(z):
    """The standard normal distribution: (Phi(z), phi(z)), both with small relative error in the lower tail too."""
    t = 1 / (tl.abs(z) * 0.3 + 1)
    bell = tl.exp(-0.5 * z * z)
    g = t * 0.03837824985 - 0.1691659391
    g = g * t + 0.228659749
    g = g * t - 0.0765061453
    g = g * t + 0.1425353289
    g = g * t + 0.094683595
    g = g * t + 0.1219203249
    g = g * t + 0.1194876879
    g = g * t + 7.168786851e-6
    tail = bell * g
    return tl.where(z < 0, tail, 1 - tail), bell * 0.3989422804014327


@triton.jit
def erfinv(v):
    """The inverse of erf on [-1 + 2^-24, 1 - 2^-24]; v beyond is cut (Giles 2012)."""
    v = tl.where(v < -LARGEST_BELOW_ONE, -LARGEST_BELOW_ONE, tl.where(v > LARGEST_BELOW_ONE, LARGEST_BELOW_ONE, v))
    size = tl.abs(v)
    w = -log1p(-size) - log1p(size)
    near = w - 2.5
    far = tl.sqrt(w) - 3
    centre = near * 2.81022636e-08 + 3.43273939e-07
    centre = centre * near - 3.5233877e-06
    centre = centre * near - 4.39150654e-06
    centre = centre * near + 0.00021858087
    centre = centre * near - 0.00125372503
    centre = centre * near - 0.00417768164
    centre = centre * near + 0.246640727
    centre = centre * near + 1.50140941
    tail = far * -0.000200214257 + 0.000100950558
    tail = tail * far + 0.00134934322
    tail = tail * far - 0.00367342844
    tail = tail * far + 0.00573950773
    tail = tail * far - 0.0076224613
    tail = tail * far + 0.00943887047
    tail = tail * far + 1.00167406
    tail = tail * far + 2.83297682
    return tl.where(w < 5, centre, tail) * v
