"""Arrangement: at what angles the features of a set stand to one another, and to those of other sets.

The angle of two features is that of their columns, arccos(W_i . W_j / |W_i| |W_j|). A pair is of one of the kinds

    same          within `WITHIN` degrees of 0        orthogonal    of 90        antipodal    of 180
    other         none of these                       absent        a column is shorter than `PRESENT`

Elhage et al. 2022 (*Toy Models of Superposition*) report that features that fire together, a correlated set, are
orthogonal, side by side where there is no room for that, and that features of which only one fires at a time, an
anticorrelated set, are antipodal. Exchangeable features do so too now and then: four features in two antipodal pairs
have their two sets orthogonal in two of the three ways to make sets of two of them. That is what `relabelled` gives.

Shapes: W ``[model, hidden, feature]``; ``member`` ``[feature]``, the set of each feature, all sets equally large. All
of it is invariant under rotations of the hidden space, and under a common factor as far as columns stay long enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import combinations

import torch
from torch import Tensor

from toymodels.metrics.geometry import norms, unit_columns

WITHIN = 15.0
"""degrees that an angle may differ from the one that its kind is named by"""
PRESENT = 0.5
"""the shortest column of a feature that the model represents"""
MOST_DIVISIONS = 10_000
"""how many divisions of features into sets are gone through: 20 features have 654,729,075 into pairs"""


class PairKind(Enum):
    """How two features stand to one another; ``value`` is what it is called."""

    SAME = "same"
    ORTHOGONAL = "orthogonal"
    ANTIPODAL = "antipodal"
    OTHER = "other"
    ABSENT = "absent"


DEGREES = {PairKind.SAME: 0.0, PairKind.ORTHOGONAL: 90.0, PairKind.ANTIPODAL: 180.0}
"""the angle that a kind is named by"""

Arranged = Callable[[Tensor, Tensor], Tensor]
"""Whether models W [model, hidden, feature] have an arrangement of the sets ``member`` [feature]: bool [model]."""


def present(W: Tensor, least: float = PRESENT) -> Tensor:
    """Whether a feature's column is at least so long: bool [model, feature]."""
    return norms(W) >= least


def angles(W: Tensor, least: float = PRESENT) -> Tensor:
    """The angle of every two columns in degrees, NaN where one is shorter than ``least``: [model, feature, feature]."""
    unit = unit_columns(W.double())
    there = present(W, least)
    degrees = torch.rad2deg((unit.transpose(1, 2) @ unit).clamp(-1, 1).acos())
    return torch.where(there[:, :, None] & there[:, None, :], degrees, torch.nan)


def of_kind(angle: Tensor, kind: PairKind, within: float = WITHIN) -> Tensor:
    """Whether angles in degrees, NaN where a feature is absent, are of this kind: bool of their shape."""
    if kind in DEGREES:
        return (angle - DEGREES[kind]).abs() <= within
    if kind is PairKind.ABSENT:
        return angle.isnan()
    known = torch.stack([of_kind(angle, each, within) for each in DEGREES]).any(0)
    return ~known & ~angle.isnan()


def pairs_of(member: Tensor, same_set: bool) -> Tensor:
    """The pairs i < j whose members are of one set, or of two: bool [feature, feature]."""
    return torch.triu((member[:, None] == member[None, :]) == same_set, diagonal=1)


def sets_of_kind(kind: PairKind, within: float = WITHIN) -> Arranged:
    """The arrangement in which every pair within a set is of this kind."""
    return lambda W, member: of_kind(angles(W), kind, within)[:, pairs_of(member, True)].all(1)


def side_by_side(W: Tensor, member: Tensor) -> Tensor:
    """Whether all features are present and, going once around the plane, the members of each set come one after the
    other: bool [model]. Six exchangeable features do so in 2 of their 15 divisions into sets of two.

    Raises ``ValueError`` unless the hidden space is a plane.
    """
    if W.shape[1] != 2:
        raise ValueError(f"side by side is said of directions in a plane, got {W.shape[1]} hidden dimensions")
    around = member[torch.atan2(W[:, 1], W[:, 0]).argsort(1)]
    changes = (around != around.roll(1, 1)).sum(1)
    return (changes == len(member.unique())) & present(W).all(1)


def relabelled(arranged: Arranged, W: Tensor, member: Tensor) -> Tensor:
    """The share of all divisions of the features into sets of these sizes of which a model has the arrangement:
    [model]. It is what a model would be expected to show if its features were exchangeable.

    Of more than `MOST_DIVISIONS` divisions so many are drawn at random, the same ones for every model and call; a share
    is then off by .005 or less in one standard error.
    """
    n, size = len(member), int((member == member[0]).sum())
    if count_divisions(n, size) > MOST_DIVISIONS:
        generator = torch.Generator().manual_seed(0)
        labels = (member[torch.randperm(n, generator=generator)] for _ in range(MOST_DIVISIONS))
    else:
        labels = (torch.tensor(each) for each in divisions(n, size))
    return torch.stack([arranged(W, each) for each in labels]).double().mean(0)


def count_divisions(n: int, size: int) -> int:
    """How many ways there are to divide ``n`` features into sets of ``size``: n! / (size!^k k!) with k = n / size."""
    sets = n // size
    return math.factorial(n) // (math.factorial(size) ** sets * math.factorial(sets))


def divisions(n: int, size: int) -> Iterator[list[int]]:
    """Every way to divide ``n`` features into sets of ``size``, as the set of each feature."""

    def sets(left: Sequence[int]) -> Iterator[list[tuple[int, ...]]]:
        if not left:
            yield []
            return
        for others in combinations(left[1:], size - 1):
            first = (left[0], *others)
            yield from ([first, *rest] for rest in sets([each for each in left if each not in first]))

    for found in sets(range(n)):
        yield [next(k for k, each in enumerate(found) if feature in each) for feature in range(n)]
