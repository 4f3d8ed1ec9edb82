"""Bits: the entropy of what is frozen, in bits an example, from samples and, where it can be listed, exactly.

    plug-in        H = -sum_c (N_c / N) log2(N_c / N)               too small: codes that were not seen are missing
    Miller-Madow   H + (K - 1) / (2 N ln 2), K codes seen           its first-order bias removed (Miller 1955)
    unseen         share of examples seen once                      estimates the probability of codes not yet seen
                                                                    (Good 1953, Turing's estimator)

No estimate from N examples goes beyond log2 N or so, whatever the truth: so each is given at N / 4, N / 2 and N, and
counts as *saturated*, no longer growing with N, where the last doubling adds at most 1 % (`SATURATED`). A code that is
a function of x carries at most the entropy of x. For independent binary features that is the active set's,

    H(x) = sum_i h(p_i),    h(p) = -p log2 p - (1 - p) log2(1 - p)

and of the same examples plug-in estimates give an upper bound beside the lower one: a code c is a function of x, so
H(c) = H(x) - H(x | c), and the plug-in estimate of H(x | c), which is H^(x) - H^(c), is on average too small as well
(conditional entropy is concave in the joint distribution): on average H^(c) <= H(c) <= H(x) - (H^(x) - H^(c)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

SATURATED = 0.01
MULTIPLIERS = np.random.default_rng(0).integers(0, 2**63, 2**17, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
"""Odd, one a row of a code: sums of products with them, modulo 2^64, are alike for codes that differ with a probability
of about 2^-64 a pair."""


@dataclass(frozen=True)
class Bits:
    """The entropy of codes seen in ``samples`` examples, in bits."""

    samples: int
    distinct: int
    """how many codes were seen"""
    plug_in: float
    corrected: float
    """by Miller and Madow"""
    unseen: float
    """an estimate of the probability of the codes that were not seen"""


def digests(codes: Tensor) -> np.ndarray:
    """A number for every code, equal where all its rows are: uint64 [model, batch] of int64 [model, row, batch]."""
    factors = torch.from_numpy(MULTIPLIERS[: codes.shape[1]].view(np.int64).copy()).to(codes.device)
    return (codes * factors[:, None]).sum(1).cpu().numpy().view(np.uint64)


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Digests of both together."""
    return first * MULTIPLIERS[-1] + second * MULTIPLIERS[-2]


def bits(codes: np.ndarray) -> Bits:
    """The entropy of one code an example, [sample]; NaN of no examples."""
    counts = np.unique(codes, return_counts=True)[1]
    n = len(codes)
    if n == 0:
        return Bits(0, 0, np.nan, np.nan, np.nan)
    plug_in = entropy(counts / n)
    return Bits(
        n, len(counts), plug_in, plug_in + (len(counts) - 1) / (2 * n * np.log(2)), float((counts == 1).sum() / n)
    )


def growing(codes: np.ndarray) -> tuple[Bits, Bits, Bits]:
    """The entropy from the first quarter, the first half and all of the examples."""
    return bits(codes[: len(codes) // 4]), bits(codes[: len(codes) // 2]), bits(codes)


def saturated(found: Sequence[Bits]) -> bool:
    """Whether the last doubling of the examples added at most `SATURATED` of the estimate."""
    *_, half, whole = found
    return bool(whole.corrected - half.corrected <= SATURATED * max(whole.corrected, 1e-9))


def entropy(p: np.ndarray) -> float:
    """-sum_c p_c log2 p_c of probabilities p."""
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum()) + 0.0


def independent_bits(p: np.ndarray) -> float:
    """H(x) = sum_i h(p_i): the bits of the active set of independent features of probabilities ``p`` [feature]."""
    return sum(entropy(np.array([each, 1 - each])) for each in p.tolist())


def active_sets(p: np.ndarray, active: int) -> tuple[np.ndarray, np.ndarray]:
    """All sets of so many of independent features, bool [feature, set], and their probabilities, [set], given how many
    are active; ``p`` [feature] below 1."""
    members = np.array(list(combinations(range(len(p)), active)), np.int64).reshape(comb(len(p), active), active)
    sets = np.zeros((len(p), len(members)), bool)
    sets[members, np.arange(len(members))[:, None]] = True
    odds = np.prod((p / (1 - p))[members], axis=1)
    return sets, odds / odds.sum()


def listed_bits(codes: np.ndarray, probability: np.ndarray) -> float:
    """The entropy of a code where every case is listed, with its probability, both [case]: no estimate."""
    place = np.unique(codes, return_inverse=True)[1]
    return entropy(np.bincount(place.ravel(), probability))
