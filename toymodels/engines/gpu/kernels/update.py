"""Updates: optimizers on a model's parameters. `toymodels.training.optimizers` has the equations."""

from __future__ import annotations

import triton
import triton.language as tl

from toymodels.engines.gpu.kernels.elementary import nan_like
from toymodels.engines.gpu.kernels.weights import product


@triton.jit
def propose(weights, mean, square, gradient, numbers, rule, pace, rotation, form: tl.constexpr):
    """The optimizer's next state and rate * direction, parameter by parameter: (mean, square, update).

    An optimizer that is not listed here proposes NaN. ``numbers`` are the model's own from its rate on, ``rule`` those
    of the optimizer, ``pace`` those of the step; see `toymodels.engines.gpu.batch`.
    """
    rate = tl.load(numbers + 2) * tl.load(pace)
    decay, bias_decay, growth = tl.load(numbers + 3), tl.load(numbers + 4), tl.load(numbers + 5)
    means, squares, updates = (), (), ()
    for i in tl.static_range(len(form.begins)):
        W, m, v, g = weights[i], mean[i], square[i], gradient[i]
        share = decay
        if i == form.b_in:
            share = decay + bias_decay
        decayed = W * share
        if i == form.W_in:
            if growth != 0:
                length = tl.sqrt(tl.sum(W * W, 0))
                beyond = tl.where(length > 0, 1 - 1 / tl.where(length > 0, length, 1.0), 0.0)
                decayed += W * (growth * beyond)[None, :]
        if form.optimizer == "sgd":
            m = m * tl.load(rule + 4) + g + decayed
            direction = m
        elif form.optimizer == "adam":
            m, v, direction = _adam(m, v, g, rule, pace)
            direction += decayed
        elif form.optimizer == "rotated_adam":
            m, v, direction = _adam(m, v, _turned(rotation, g, form.hidden_axis[i], form), rule, pace)
            direction = _turned(tl.trans(rotation), direction, form.hidden_axis[i], form) + decayed
        else:
            direction = nan_like(g)
        means, squares, updates = means + (m,), squares + (v,), updates + (direction * rate,)
    return means, squares, updates


@triton.jit
def _adam(mean, square, gradient, rule, pace):
    """Adam's state with one gradient more, and its direction; 0 where the mean is 0, also where eps is."""
    mean += (gradient - mean) * tl.load(rule + 1)
    square = square * tl.load(rule) + gradient * gradient * tl.load(rule + 2)
    scale = tl.sqrt(square) * (1 / tl.load(pace + 2)) + tl.load(rule + 3)
    step = mean * (1 / tl.load(pace + 1)) / tl.where(mean == 0, 1.0, scale)
    return mean, square, tl.where(mean == 0, 0.0, step)


@triton.jit
def _turned(rotation, x, axis: tl.constexpr, form: tl.constexpr):
    """out_j = sum_k R[j, k] x_k along the hidden axis of a parameter; x itself where it has none."""
    if axis < 0:
        return x
    elif len(x.shape) == 1:
        return tl.sum(rotation * x[None, :], 1)
    elif axis == 0:
        return product(rotation, x, form)
    else:
        return product(x, tl.trans(rotation), form)
