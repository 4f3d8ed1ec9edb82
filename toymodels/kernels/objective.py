"""Objectives on rows of a tile: what a model should say and what it says; the loss is the square of the difference.

`toymodels.objectives` has the equations. Codes are looked at once a tile, in `known`, not once a feature: rows are
multiplied by what it gives, which is NaN for a code that is not listed here, and a model of it diverges at once.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.vector import absolute, where

IDENTITY, ABSOLUTE_VALUE = range(2)
LINEAR_OUTPUT, RELU_OUTPUT = range(2)
SQUARED = 0
ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)


@inner
def known(shape):
    """1 where the target, the output and the loss are listed above; NaN where one of them is not."""
    target = shape.target == IDENTITY or shape.target == ABSOLUTE_VALUE
    output = shape.output == LINEAR_OUTPUT or shape.output == RELU_OUTPUT
    return ONE if target and output and shape.loss == SQUARED else NAN


@inner
def target_of(code, x):
    """t, of a row of x; for a known code."""
    if code == ABSOLUTE_VALUE:
        return absolute(x)
    return x


@inner
def output_of(code, r):
    """y, of a row of the read-out; for a known code."""
    if code == RELU_OUTPUT:
        return where(r <= ZERO, ZERO, r)
    return r


@inner
def output_backward(code, r, dy):
    """From dL/dy to dL/dreadout; for a known code."""
    if code == RELU_OUTPUT:
        return where(r <= ZERO, ZERO, dy)
    return dy
