"""Shape: the sizes of one structure, and the layout of the flat parameter vector ``theta`` of its models.

``theta`` is one float32 array, so that an optimizer is one loop. Weight matrices are feature-major with rows of
``pitch`` numbers, and what only fills up stays 0.
"""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One structure: sizes, where each parameter begins in ``theta`` (-1: it is not there), and codes of choices."""

    n: int
    m: int
    pitch: int
    batch: int
    W_in: int
    W_out: int
    """that of W_in where the weights are tied"""
    b_in: int
    b_out: int
    gain: int
    bias: int
    size: int
    """of theta"""
    activation: int
    layer_norm: int
    output: int
    target: int
    loss: int
