"""Alignment: does a feature sit in one neuron?

Of the columns of W_in, and of the sizes s ``[model, hidden, feature]`` of the responses to each feature alone
(`toymodels.responses`). A signed feature's size in a neuron is the mean of its two sides, so one that has a
neuron for each sign sits in two neurons: its response alignment is 1/2 and its participation ratio 2.
"""

from __future__ import annotations

from torch import Tensor


def weight_alignment(W_in: Tensor) -> Tensor:
    """max_k |W_ki| / |W_i|: [model, feature], in [1/sqrt(m), 1]; NaN for a zero vector."""
    largest = W_in.abs().amax(1)
    # Scaled first: tiny weights must not underflow. Not by `norms`: torch's norm over a middle axis takes ten times
    # as long, and the null asks for a thousand.
    return (W_in / largest[:, None, :]).square().sum(1).rsqrt()


def response_alignment(size: Tensor) -> Tensor:
    """max_k s_ki / sum_k s_ki: [model, feature], in [1/m, 1]; 1 is one neuron; NaN where nothing responds.

    Jermyn, Schiefer, Hubinger 2022, with absolute values.
    """
    return size.amax(1) / size.sum(1)


def participation_ratio(size: Tensor) -> Tensor:
    """(sum_k s_ki^2)^2 / sum_k s_ki^4: [model, feature], in [1, m], how many neurons respond.

    NaN where nothing responds. Scaled by the largest entry first, so that small responses do not underflow.
    """
    squares = (size / size.amax(1, keepdim=True)).square()
    return squares.sum(1).square() / squares.square().sum(1)
