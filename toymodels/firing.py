"""Firing: which features are active together.

Independent features decide by their own word. In every other law one word a sample and group (domain ``FIRING``)
decides for the group through thresholds on [0, 2^32), and a member's own word serves its value only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toymodels.checks import Whole, settle

SCALE = 2.0**32
MAX_GROUPS = 10**6


class Firing:
    """Joint law of the active sets, given marginals P_i."""

    name: str

    @property
    def n_groups(self) -> int | None:
        """How many groups decide, None where every feature decides for itself."""
        return None

    def check(self, n: int, density: float) -> None:
        """Raise ``ValueError`` where this law cannot have ``n`` features of mean density ``density``."""

    def n_weights(self, n: int) -> int:
        """How many weights the frequency law gives: one a feature, or one a group (members share their P)."""
        return n

    def spread(self, per_group: np.ndarray, n: int) -> np.ndarray:
        """P_i of every feature, from the probabilities of `n_weights`."""
        return per_group

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Feature i is active iff low_i <= group word < high_i; uint64 ``[feature]`` each."""
        raise TypeError(f"{type(self).__name__} has no groups")


@dataclass(frozen=True)
class Independent(Firing):
    """Every feature on its own."""

    name = "independent"


@dataclass(frozen=True)
class One(Firing):
    """Exactly one feature active in every sample: the P_i sum to 1, so the density is 1/n."""

    name = "one"

    @property
    def n_groups(self) -> int:
        return 1

    def check(self, n: int, density: float) -> None:
        if abs(density * n - 1) > 1e-9:
            raise ValueError(f"density: with firing 'one' the density is 1/n = {1 / n:.6g}, got {density}")

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edges = np.concatenate([[0.0], np.cumsum(p)])
        edges = np.rint(edges / edges[-1] * SCALE).astype(np.uint64)
        return _each_can_fire(edges[:-1], edges[1:])


@dataclass(frozen=True)
class _Grouped(Firing):
    """``groups`` groups of n / groups neighbouring features; the frequency law runs over groups."""

    groups: int = 1

    def __post_init__(self) -> None:
        settle(self, {"groups": Whole(1, MAX_GROUPS)})

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
        high = np.clip(np.rint(p * SCALE), 1, SCALE).astype(np.uint64)
        return np.zeros_like(high), high


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


def _each_can_fire(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not (low < high).all():
        raise ValueError("density: where one word decides for a group, every P(active) must be at least 2^-32")
    return low, high
