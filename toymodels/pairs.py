"""Pairs: which pairs of features a model is asked about, and how the product of a pair is distributed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from toymodels import random
from toymodels.quadrature import unit_interval
from toymodels.random import Domain
from toymodels.surroundings import undisturbed
from toymodels.values import Values


@lru_cache(maxsize=32)  # of a million pairs 16 MB each
def drawn_pairs(pairs: int, n: int, seed: int) -> np.ndarray:
    """Of ``n`` features so many distinct pairs {i, j}, i < j, in lexicographic order: int64 ``[pair, 2]``, read-only.

    A sample without replacement of the n (n - 1) / 2 pairs, each of the same probability: place q of a Fisher-Yates
    shuffle is exchanged with place q + floor(w (n (n - 1) / 2 - q) / 2^64), w the stream's words (0, q), the high half,
    and (1, q) of domain ``PAIRS``.
    """
    high, low = random.words(np.array([seed]), 2, pairs, 0, Domain.PAIRS)[0].tolist()
    there_are, moved = n * (n - 1) // 2, dict[int, int]()
    drawn = []
    for q in range(pairs):
        place = q + ((high[q] << 32 | low[q]) * (there_are - q) >> 64)
        drawn.append(moved.get(place, place))
        moved[place] = moved.get(q, q)
    rank = np.sort(np.array(drawn, np.int64))
    # The pairs {0, j} come first, then {1, j}: before those of i there are i (2n - i - 1) / 2.
    begins = np.arange(n, dtype=np.int64)
    begins = begins * (2 * n - begins - 1) // 2
    first = np.searchsorted(begins, rank, side="right") - 1
    first = np.minimum(first, n - 2)
    members = np.stack([first, rank - begins[first] + first + 1], axis=1)
    members.flags.writeable = False
    return members


@dataclass(frozen=True)
class Product:
    """x_i x_j of two features that are active together with probability ``both``: else it is 0.

    Their values are independent, whatever the firing law: each is of the feature's own word.
    """

    both: float
    values: Values
    signed: bool

    @undisturbed
    def outcomes(self) -> tuple[Tensor, Tensor]:
        """0, and the products of the values at Gauss-Legendre nodes of two uniforms, with their chances."""
        nodes, weights = unit_interval(panels=4, order=8)
        v = self.values.from_uniform(torch.ones_like(nodes) if self.values.binary else nodes).double()
        t, chance = torch.outer(v, v).flatten(), self.both * torch.outer(weights, weights).flatten()
        if self.signed:
            t, chance = torch.cat([t, -t]), torch.cat([chance, chance]) / 2
        nothing = torch.tensor([0.0, 1 - self.both], dtype=torch.float64)
        return torch.cat([nothing[:1], t]), torch.cat([nothing[1:], chance])
