"""Pruning: all but the largest weights of a matrix set to 0; `toymodels.training.pruning` has the equations.

The least magnitude that stays is found by bisection over its 31 bits, of which a pass over the matrix settles one:
floats that are not negative are ordered as their bits are. What fills a matrix up is 0 and stays 0.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import function, inner
from toymodels.kernels.products import padded_rows
from toymodels.kernels.vector import NATIVE, absolute, at, bits, count, lanes_of, load_native, put, shifted, store

ONE, HIGHEST = np.uint64(1), 30
"""the place of the highest bit of a float that is not its sign"""


@inner
def kept(share, entries, t, steps):
    """How many of a matrix's ``entries`` stay after step t."""
    now = 1.0 - (1.0 - share) * min(1.0, 2.0 * t / steps)
    return max(1, int(np.floor(now * entries + 0.5)))


@function
def prune(shape, share, t, steps, theta, room):
    """Prune W_in and W_out, or the one matrix that they are, after step t; ``room`` is of a matrix's size."""
    rows, W_in = padded_rows(shape.inputs), shifted(theta, shape.W_in)
    _keep_largest(W_in, rows * shape.pitch, kept(share, shape.inputs * shape.m, t, steps), room)
    if shape.W_out != shape.W_in:
        rows, W_out = padded_rows(shape.outputs), shifted(theta, shape.W_out)
        _keep_largest(W_out, rows * shape.pitch, kept(share, shape.outputs * shape.m, t, steps), room)


@inner
def _keep_largest(matrix, size, kept, magnitudes):
    """Zero all but the ``kept`` largest of ``size`` numbers; of equals the first stay."""
    whole = size - size % NATIVE
    for p in range(0, whole, NATIVE):
        store(magnitudes, p, absolute(load_native(matrix, p)))
    for p in range(whole, -(-size // NATIVE) * NATIVE):
        put(magnitudes, p, np.float32(abs(at(matrix, p))) if p < size else np.float32(0))
    least, larger = _least(magnitudes, size, kept)
    room = kept - larger
    for p in range(0, size, NATIVE):
        words = bits(load_native(magnitudes, p))
        above, equal = lanes_of(words > least), lanes_of(words == least)
        for lane in range(min(NATIVE, size - p)):
            bit = ONE << np.uint64(lane)
            if equal & bit and room > 0:
                room -= 1
            elif not above & bit:
                put(matrix, p + lane, np.float32(0))


@inner
def _least(magnitudes, size, kept):
    """The bits of the kept-th largest magnitude, and how many are larger."""
    least, larger = np.uint32(0), 0
    for place in range(HIGHEST, -1, -1):
        tried = np.uint32(least | np.uint32(1 << place))
        there = _at_least(magnitudes, size, tried)
        if there >= kept:
            least = tried
        else:
            larger = there
    return least, larger


@inner
def _at_least(magnitudes, size, word):
    there = 0
    for p in range(0, size, NATIVE):
        there += count(lanes_of(bits(load_native(magnitudes, p)) >= word))
    return there
