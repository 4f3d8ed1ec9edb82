"""Firing: which features are active together.

Independent features decide by their own word. In every other law one word a sample and group (domain ``FIRING``)
decides for the group through thresholds on [0, 2^32), and a member's own word serves its value only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from toymodels.checks import Each, Number, Whole, setting, settle
from toymodels.roles import by_name

SCALE = 2.0**32
MAX_GROUPS = 10**6
MAX_DEPTH = 32
ROUNDED = 1e-5
"""How far from 1/n a density may be written: 0.166667 is 1/6."""

SETS = Each(Each(Whole(0, MAX_GROUPS - 1), "features"), "sets of features such as ((0, 1), (2, 5))")


class Firing(ABC):
    """Joint law of the active sets, given marginals P_i.

    A law of one's own says who decides, in ``n_groups`` (equal groups of neighbours) or ``member`` (any), and how, in
    ``intervals``. What these make of P_i is what holds: `Features.probabilities` reads it off them.
    """

    name: str

    @property
    def n_groups(self) -> int | None:
        """How many equal groups of neighbouring features there are; None where there are none, or others."""
        return None

    def member(self, n: int) -> np.ndarray | None:
        """The group of every feature, int64 ``[feature]``, numbered from 0 in the order of their first features.

        None where every feature decides for itself.
        """
        return None if self.n_groups is None else np.arange(n) // (n // self.n_groups)

    @classmethod
    def only_density(cls, n: int) -> float | None:
        """The one density that ``n`` features can have under this law; None where there are many."""
        return None

    def check(self, n: int, density: float) -> None:  # noqa: B027 - most laws can have any
        """Raise ``ValueError`` where this law cannot have ``n`` features of mean density ``density``."""

    def n_weights(self, n: int) -> int:
        """How many weights the frequency law gives: one a feature, or one a group (members share their P)."""
        return n

    def shares(self, n: int) -> np.ndarray:
        """How many features share each weight of the frequency law, up to a common factor: float64 ``[weight]``."""
        return np.ones(self.n_weights(n))

    def spread(self, per_group: np.ndarray, n: int) -> np.ndarray:
        """P_i of every feature, from the probabilities of `n_weights`."""
        return per_group

    @abstractmethod
    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Feature i is active iff low_i <= word < high_i, of its group's word or its own; uint64 ``[feature]`` each."""


@dataclass(frozen=True)
class Independent(Firing):
    """Every feature on its own."""

    name = "independent"

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _below(p)


@dataclass(frozen=True)
class One(Firing):
    """Exactly one feature active in every sample: the P_i sum to 1, so the density is 1/n."""

    name = "one"

    @property
    def n_groups(self) -> int:
        return 1

    @classmethod
    def only_density(cls, n: int) -> float:
        return 1 / n

    def check(self, n: int, density: float) -> None:
        if abs(density * n - 1) > ROUNDED:
            raise ValueError(f"density: with firing 'one' the density is 1/n = {1 / n:.6g}, got {density}")

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edges = np.concatenate([[0.0], np.cumsum(p)])
        edges = np.rint(edges / edges[-1] * SCALE).astype(np.uint64)
        return _each_can_fire(edges[:-1], edges[1:])


@dataclass(frozen=True)
class _Grouped(Firing):
    """``groups`` groups of n / groups neighbouring features; the frequency law runs over groups."""

    groups: int = field(
        default=1, metadata=setting(Whole(1, MAX_GROUPS), "how many equal groups of neighbouring features there are")
    )

    def __post_init__(self) -> None:
        settle(self)

    @property
    def n_groups(self) -> int:
        return self.groups

    def check(self, n: int, density: float) -> None:
        if n % self.groups:
            raise ValueError(f"firing.groups: expected a divisor of n = {n}, got {self.groups}")

    def n_weights(self, n: int) -> int:
        return self.groups

    def spread(self, per_group: np.ndarray, n: int) -> np.ndarray:
        return np.repeat(per_group, n // self.groups)


@dataclass(frozen=True)
class Correlated(_Grouped):
    """All members of a group are active together, with probability P: the density is a member's."""

    name = "correlated"

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _below(p)


@dataclass(frozen=True)
class Together(Firing):
    """The features of each set are active together; every other feature is a group of its own.

    ``sets`` names features from 0 to n - 1, each at most once, at least two in a set; their order means nothing.
    Members of a set share their P. The frequency law has one weight a group, in the order of the groups' first
    features, and the density is the mean over features. Values are each feature's own. Raises ``ValueError`` for other
    sets.
    """

    sets: tuple[tuple[int, ...], ...] = field(
        metadata=setting(SETS, "the sets of features, from 0 to n - 1, that are active together")
    )
    name = "together"

    def __post_init__(self) -> None:
        sets = [sorted(each) for each in SETS("firing.sets", self.sets)]
        if not sets:
            raise ValueError("firing.sets: expected at least one set of features, got none")
        if small := next((each for each in sets if len(each) < 2), None):
            raise ValueError(f"firing.sets: expected at least 2 features in a set, got {small}")
        named = [feature for each in sets for feature in each]
        if len(set(named)) < len(named):
            twice = next(feature for feature in named if named.count(feature) > 1)
            raise ValueError(f"firing.sets: expected every feature at most once, got {twice} twice")
        object.__setattr__(self, "sets", tuple(sorted(map(tuple, sets))))

    def member(self, n: int) -> np.ndarray:
        first = np.arange(n)
        for each in self.sets:
            first[list(each)] = each[0]
        return np.unique(first, return_inverse=True)[1].astype(np.int64)

    def check(self, n: int, density: float) -> None:
        largest = max(each[-1] for each in self.sets)
        if largest >= n:
            raise ValueError(f"firing.sets: expected features from 0 to {n - 1}, got {largest}")

    def n_weights(self, n: int) -> int:
        return n - sum(len(each) - 1 for each in self.sets)

    def shares(self, n: int) -> np.ndarray:
        return np.bincount(self.member(n)).astype(np.float64)

    def spread(self, per_group: np.ndarray, n: int) -> np.ndarray:
        return per_group[self.member(n)]

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _below(p)


@dataclass(frozen=True)
class Anticorrelated(_Grouped):
    """At most one member of a group is active. The density is a member's; a group fires with P n / groups."""

    name = "anticorrelated"

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        members = len(p) // self.groups
        within = np.cumsum(p.reshape(self.groups, members), axis=1)
        if within[:, -1].max() > 1 + 1e-9:
            raise ValueError(
                f"density: at most one of a group's {members} features is active, so a member's density is at most "
                f"{1 / members:.6g}, got {p.max():.6g}"
            )
        high = np.rint(np.minimum(within, 1) * SCALE).astype(np.uint64)
        low = np.concatenate([np.zeros((self.groups, 1), np.uint64), high[:, :-1]], axis=1)
        return _each_can_fire(low.ravel(), high.ravel())


@dataclass(frozen=True)
class Tree(Firing):
    """Trees of features: one fires only where its parent does, and at most one of a feature's children at a time.

    With b ``children`` and ``depth`` d a tree has 1 + b + ... + b^d features, neighbours, level by level from its root;
    n is a multiple of that. The frequency law has one weight a tree, its root's P, and on level l every feature has

        P = P_root (q / b)^l,    q = ``any_child`` = P(a child is active | its parent is)

    The density is the mean over features; the largest P are the roots'. Trees are independent of one another, and
    values are each feature's own. What is active in a tree is a path from its root on, so one word decides for all of
    it: a feature's interval of words lies in its parent's, beside its siblings'. Chanin et al. 2024, *A is for
    Absorption*; Chanin & Garriga-Alonso 2026, *SynthSAEBench*, have such hierarchies.
    """

    children: int = field(
        default=2, metadata=setting(Whole(1, MAX_GROUPS), "of firing 'tree': how many children a parent has")
    )
    depth: int = field(
        default=1, metadata=setting(Whole(1, MAX_DEPTH), "of firing 'tree': how many levels there are below a root")
    )
    any_child: float = field(
        default=0.8,
        metadata=setting(Number(above=0, most=1), "of firing 'tree': P(one of its children is active | a parent is)"),
    )
    name = "tree"

    def __post_init__(self) -> None:
        settle(self)

    @property
    def size(self) -> int:
        """How many features a tree has."""
        return sum(self.children**level for level in range(self.depth + 1))

    def member(self, n: int) -> np.ndarray:
        return np.arange(n) // self.size

    def parents(self, n: int) -> np.ndarray:
        """The parent of every feature, -1 for a root: int64 ``[feature]``."""
        place = np.arange(n) % self.size
        return np.where(place == 0, -1, np.arange(n) - place + (place - 1) // self.children)

    def check(self, n: int, density: float) -> None:
        if n % self.size:
            raise ValueError(
                f"firing: a tree of {self.children} children a parent and depth {self.depth} has {self.size} features, "
                f"so n is a multiple of that, got {n}"
            )

    def n_weights(self, n: int) -> int:
        return n // self.size

    def spread(self, per_group: np.ndarray, n: int) -> np.ndarray:
        levels = np.arange(self.depth + 1)
        of_root = np.repeat((self.any_child / self.children) ** levels, self.children**levels)
        return np.outer(per_group, of_root).ravel()

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        low, high = p.reshape(-1, self.size) * np.array([0.0, 1.0])[:, None, None]
        parents, first = slice(0, 1), 1
        for level in range(1, self.depth + 1):
            siblings = slice(first, first + self.children**level)
            # Side by side from where their parent begins; rounding must not carry the last beyond its end.
            width = high[:, siblings].reshape(len(high), -1, self.children).cumsum(2)
            ends = np.minimum(low[:, parents, None] + width, high[:, parents, None])
            high[:, siblings] = ends.reshape(len(high), -1)
            low[:, siblings] = np.concatenate([low[:, parents, None], ends[:, :, :-1]], 2).reshape(len(high), -1)
            parents, first = siblings, siblings.stop
        return _each_can_fire(*(np.rint(edge.ravel() * SCALE).astype(np.uint64) for edge in (low, high)))


FIRINGS: dict[str, type[Firing]] = by_name(Independent, One, Correlated, Anticorrelated, Together, Tree)


def _below(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Active where the group's word is below P 2^32."""
    high = np.clip(np.rint(p * SCALE), 1, SCALE).astype(np.uint64)
    return np.zeros_like(high), high


def _each_can_fire(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not (low < high).all():
        raise ValueError("density: where one word decides for a group, every P(active) must be at least 2^-32")
    return low, high
