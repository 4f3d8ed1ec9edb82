"""Shape: the sizes of one structure, and the layout of the flat parameter vector ``theta`` of its models.

``theta`` is one float32 array, so that an optimizer is one loop. Weight matrices are feature-major with rows of
``pitch`` numbers, and what only fills up stays 0.
"""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One structure: sizes, where each parameter begins in ``theta`` (-1: it is not there), and codes of choices."""

    n: int
    """features"""
    inputs: int
    """what W_in reads: the features, or the rows of an embedding"""
    m: int
    """neurons"""
    outputs: int
    """targets"""
    pitch: int
    input_pitch: int
    """of the embedding, 0 without one"""
    batch: int
    W_in: int
    W_out: int
    """that of W_in where the weights are tied"""
    b_in: int
    b_out: int
    gain: int
    bias: int
    E: int
    """of an embedding that is trained; a fixed one is not in theta"""
    size: int
    """of theta"""
    pairs_in: int
    """where the partial sums of W_in's gradient begin: after those of W_out, or with them where weights are tied"""
    pairs_E: int
    """where those of a trained embedding begin"""
    pairs: int
    """how many numbers these partial sums are, which matrices of few columns have; see `products`"""
    activation: int
    layer_norm: int
    output: int
    target: int
    loss: int
