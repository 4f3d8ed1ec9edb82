"""Stretches: the evaluation data of trained models in pieces that stay in cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from toymodels.examples import Examples

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

CHUNK = 256
"""Samples at once. The search for a scale passes over the same data again and again: this much stays in cache."""


def chunks(host: Host, samples: int, first: int) -> Iterator[Examples]:
    """The host's examples from ``first`` on, at most `CHUNK` at once. Raises ``ValueError`` where there are none."""
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    return host.batches(first, samples, CHUNK)
