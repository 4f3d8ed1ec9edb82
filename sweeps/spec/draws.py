"""Draws: the values of a random axis, ``{ uniform = [a, b], n = 16 }`` or ``{ log_uniform = [a, b], n = 16 }``.

    u_j = (k_j + 1/2) / 2^53,  k_j the first 53 bits of SHA-256("axis NAME SEED j"),  j = 0, 1, ...
    uniform  v = a + (b - a) u        log_uniform  v = a (b / a)^u

Draw j depends on the axis's name, the seed at the top of the sweep file and j alone: not on other axes, on how many
values there are, or on the machine. So more values are the same ones and others after them. A setting that is a whole
number is drawn from [a, b + 1) and rounded down. What was drawn before is left out.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

UNIFORM, LOG_UNIFORM = "uniform", "log_uniform"
LAWS = (UNIFORM, LOG_UNIFORM)
PATIENCE = 100
"""times as many draws as values, after which there are not so many different ones"""


def drawn(law: str, first: float, last: float, count: int, name: str, seed: int, *, whole: bool) -> list[float] | None:
    """``count`` different values of the axis ``name`` between two ends, in the order of the draws, to 12 digits; None
    where there are not so many.
    """
    there, back = (float, float) if law == UNIFORM else (math.log, math.exp)
    low, high = there(first), there(last + 1 if whole else last)
    found: dict[float, None] = {}
    for u in _uniforms(name, seed, PATIENCE * count + PATIENCE):
        value = back(low + (high - low) * u)
        found[min(math.floor(value), last) if whole else float(f"{value:.12g}")] = None
        if len(found) == count:
            return list(found)
    return None


def _uniforms(name: str, seed: int, count: int) -> Iterator[float]:
    """Uniform numbers in the open interval (0, 1)."""
    for place in range(count):
        digest = hashlib.sha256(f"axis {name} {seed} {place}".encode("utf-8", "replace")).digest()
        yield ((int.from_bytes(digest[:8], "big") >> 11) + 0.5) / 2.0**53
