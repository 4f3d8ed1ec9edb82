"""Objectives on rows of a tile: what a model should say, what it says, and what the difference costs.

`toymodels.objectives` has the equations. A code that is not listed here gives NaN: a model of it diverges at once.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import absolute, splat, where

IDENTITY, ABSOLUTE_VALUE = range(2)
LINEAR_OUTPUT, RELU_OUTPUT = range(2)
SQUARED = 0
ZERO, NAN = np.float32(0), np.float32(np.nan)


@inner
def target_of(code, x):
    """t, of a row of x."""
    if code == IDENTITY:
        return x
    if code == ABSOLUTE_VALUE:
        return absolute(x)
    return splat(NAN)


@inner
def output_of(code, r):
    """y, of a row of the read-out."""
    if code == LINEAR_OUTPUT:
        return r
    if code == RELU_OUTPUT:
        return where(r <= ZERO, ZERO, r)
    return splat(NAN)


@inner
def output_backward(code, r, dy):
    """From dL/dy to dL/dreadout."""
    if code == RELU_OUTPUT:
        return where(r <= ZERO, ZERO, dy)
    return dy


@inner
def difference_of(code, t, y):
    """y - t, whose square is the squared loss, and twice which its slope."""
    if code == SQUARED:
        return y - t
    return splat(NAN)
