"""Laws: how a quantity falls off over the features i = 0 ... n-1.

The same family serves frequency (how often a feature is active) and importance (how much its error costs); the two vary
independently. A law gives unnormalised positive weights w_i.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from toymodels.checks import Each, Number, setting, settle
from toymodels.roles import by_name

ROUNDING = 1e-9
"""How far, as a share of it, a density may lie above the largest that there can be, which is itself computed."""


class Law(ABC):
    """Weights over features. Subclasses are frozen dataclasses with a ``name`` and ``weights``."""

    name: str

    @abstractmethod
    def weights(self, n: int) -> np.ndarray:
        """Weights w_i >= 0 as float64 ``[feature]``."""


@dataclass(frozen=True)
class Uniform(Law):
    """w_i = 1."""

    name = "uniform"

    def weights(self, n: int) -> np.ndarray:
        return np.ones(n)


@dataclass(frozen=True)
class Zipf(Law):
    """w_i = (i + 1)^-exponent (Zipf 1949), exponent >= 0."""

    exponent: float = field(metadata=setting(Number(least=0), "how steeply a Zipf law falls: (i + 1)^-exponent"))
    name = "zipf"

    def __post_init__(self) -> None:
        settle(self)

    def weights(self, n: int) -> np.ndarray:
        with np.errstate(under="ignore"):
            return np.arange(1, n + 1, dtype=np.float64) ** -self.exponent


@dataclass(frozen=True)
class Geometric(Law):
    """w_i = ratio^i, ratio > 0."""

    ratio: float = field(metadata=setting(Number(above=0), "from one weight of a geometric law to the next: ratio^i"))
    name = "geometric"

    def __post_init__(self) -> None:
        settle(self)

    def weights(self, n: int) -> np.ndarray:
        with np.errstate(over="ignore", under="ignore"):
            weights = self.ratio ** np.arange(n, dtype=np.float64)
        if not np.isfinite(weights).all():
            raise ValueError(f"ratio: {self.ratio} to the power {n - 1} overflows")
        return weights


@dataclass(frozen=True)
class Listed(Law):
    """w_i as listed, one number a feature, each >= 0."""

    values: tuple[float, ...] = field(
        metadata=setting(Each(Number(least=0), "a tuple of numbers"), "the weights of a listed law, one a feature")
    )
    name = "list"

    def __post_init__(self) -> None:
        settle(self)

    def weights(self, n: int) -> np.ndarray:
        if len(self.values) != n:
            raise ValueError(f"values: expected {n} numbers, got {len(self.values)}")
        return np.asarray(self.values, dtype=np.float64)


LAWS: dict[str, type[Law]] = by_name(Uniform, Zipf, Geometric, Listed)


def probabilities(
    law: Law,
    n: int,
    density: float,
    cap: float = 1.0,
    *,
    shares: np.ndarray | None = None,
    mean_share: float = 1.0,
) -> np.ndarray:
    """P_i = min(cap, c w_i) with c such that the mean of P is ``density``; float64 ``[feature]``.

    With ``shares`` ``[weight]`` it is the mean in which P_i counts that often, as where features share a weight; and
    with ``mean_share`` the density is so much of that mean, as where features have only a part of their weight's P.
    Raises ``ValueError`` if no such c exists: density outside (0, 1] or above the cap, or a weight of 0.
    """
    if not 0 < density <= 1:
        raise ValueError(f"density: expected 0 < density <= 1, got {density}")
    if not 0 < cap <= 1:
        raise ValueError(f"frequency.cap: expected 0 < cap <= 1, got {cap}")
    if density > cap * mean_share * (1 + ROUNDING):
        most = f"frequency.cap = {cap}" if mean_share == 1 else f"{cap * mean_share:.6g}, at which no P is above {cap}"
        raise ValueError(f"density: expected at most {most}, got {density}")
    density = min(density / mean_share, cap)
    weights = law.weights(n)
    if not (weights > 0).all():
        raise ValueError("frequency: every weight must be above 0 (a feature that never fires has no frequency)")
    if density == cap:
        return np.full(n, density)
    shares = np.ones(n) if shares is None else shares
    capped = np.zeros(n, dtype=bool)
    while not capped.all():
        with np.errstate(over="ignore", under="ignore"):
            scale = (shares.sum() * density - cap * shares[capped].sum()) / (shares * weights)[~capped].sum()
            scaled = scale * weights
        over = ~capped & (scaled > cap)
        if not over.any():
            return np.where(capped, cap, scaled)
        capped |= over
    return np.full(n, cap)
