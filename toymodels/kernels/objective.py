"""Objectives on rows of a tile: what a model should say, what it says, and what an error costs.

`toymodels.targets` and `toymodels.losses` have the equations. Codes are looked at once a tile, in `known`, not once a
target: rows are multiplied by what it gives, which is NaN for a code that is not listed here, and a model of it
diverges at once.
"""

from __future__ import annotations

import numpy as np

from toymodels.kernels.compiled import inner
from toymodels.kernels.elementary import exp, log1p
from toymodels.kernels.vector import LANES, absolute, at, load, splat, where

IDENTITY, ABSOLUTE_VALUE, AND = range(3)
LINEAR_OUTPUT, RELU_OUTPUT = range(2)
SQUARED, SIGMOID, SOFTMAX = range(3)
ZERO, ONE, NAN = np.float32(0), np.float32(1), np.float32(np.nan)


@inner
def known(shape):
    """1 where the target, the output and the loss are listed above; NaN where one of them is not, and for a
    cross-entropy of a ReLU output."""
    target = shape.target == IDENTITY or shape.target == ABSOLUTE_VALUE or shape.target == AND
    squared = shape.loss == SQUARED and (shape.output == LINEAR_OUTPUT or shape.output == RELU_OUTPUT)
    entropy = (shape.loss == SIGMOID or shape.loss == SOFTMAX) and shape.output == LINEAR_OUTPUT
    return ONE if target and (squared or entropy) else NAN


@inner
def target_of(code, rows, members, i):
    """t_i, a row, of the rows of x; for a known code. ``members`` has the two features of every pair."""
    if code == AND:
        return load(rows, at(members, 2 * i) * LANES) * load(rows, at(members, 2 * i + 1) * LANES)
    x = load(rows, i * LANES)
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


@inner
def sigmoid_and_softplus(y):
    """1 / (1 + e^-y) and log(1 + e^y), of a row."""
    e = exp(ZERO - absolute(y))
    upper = ONE / (ONE + e)
    return where(y >= ZERO, upper, e * upper), where(y >= ZERO, y, ZERO) + log1p(e)


@inner
def log_sum_exp(outputs, rows):
    """log sum_i e^{y_i}, a row; 0 where there is nothing to sum."""
    if outputs == 0:
        return splat(ZERO)
    largest = load(rows, 0)
    for i in range(1, outputs):
        y = load(rows, i * LANES)
        largest = where(y > largest, y, largest)
    total = splat(ZERO)
    for i in range(outputs):
        total = total + exp(load(rows, i * LANES) - largest)
    return largest + log1p(total - ONE)


@inner
def prediction_and_cost(loss, y, t, log_sum):
    """The prediction of t that an output y makes, and what its error costs, both rows; for a known code."""
    if loss == SIGMOID:
        p, softplus = sigmoid_and_softplus(y)
        return p, softplus - t * y
    if loss == SOFTMAX:
        return exp(y - log_sum), t * (log_sum - y)
    return y, (y - t) * (y - t)
