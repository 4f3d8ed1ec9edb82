"""The embedding: features in superposition in a smaller space, as in a residual stream, from which neurons read them.

    E x    [model, embedding, batch] of x [model, feature, batch],    E [model, embedding, feature], |E_i| = 1

Each column E_i is the direction of a feature, drawn at random per model (Jermyn, Schiefer, Hubinger 2022, *Engineering
monosemanticity in toy models*). Fixed, it is a world that a model must make sense of; trained, the start of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri

from toymodels import random
from toymodels.checks import Flag, Whole, setting, settle
from toymodels.random import Domain

MAX_SIZE = 10**5


@dataclass(frozen=True)
class Embedding:
    """``size``, the dimension of the space, d; and whether E is ``trained`` or stays as drawn."""

    size: int = field(metadata=setting(Whole(1, MAX_SIZE), "the dimension d of the space that neurons read"))
    trained: bool = field(default=False, metadata=setting(Flag(), "whether E is trained; else it stays as drawn"))

    def __post_init__(self) -> None:
        settle(self)

    def columns(self, seeds: Sequence[int] | np.ndarray, n: int) -> np.ndarray:
        """E at the start, float64 [seed, embedding, feature], each seed's from that seed alone.

        A column is uniform on the sphere: normals Phi^-1((word + 1/2) / 2^32) of the stream, word (feature, row) of
        domain ``EMBEDDING``, over their length.
        """
        uniforms = random.uniforms(np.asarray(seeds, np.int64), n, self.size, 0, Domain.EMBEDDING)
        normals = ndtri(uniforms).transpose(0, 2, 1)
        return normals / np.sqrt((normals**2).sum(1, keepdims=True))
