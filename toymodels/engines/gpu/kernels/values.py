"""Values: what the value law makes of a uniform value; `toymodels.values` has the equations."""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import LARGEST_BELOW_ONE, erfinv, log1p, nan_like


@triton.jit
def shaped(v, form: tl.constexpr):
    """The value law's function of v, 0 of 0; NaN for a law that is not listed here."""
    if form.values == "uniform" or form.values == "binary":
        return v
    elif form.values == "folded_normal":
        return 1.4142135623730951 * erfinv(v)
    elif form.values == "exponential":
        size = tl.abs(v)
        value = log1p(-tl.where(size > LARGEST_BELOW_ONE, LARGEST_BELOW_ONE, size))
        return tl.where(v > 0, -value, value)
    else:
        return nan_like(v)
