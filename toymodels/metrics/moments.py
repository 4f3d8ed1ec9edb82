"""Moments: one pass over fresh data, from which every data-based measure is computed.

An engine takes the sums over evaluation samples: within a chunk of fixed size in the precision of the model, over
chunks in float64. Nothing of size (model x samples) is kept, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.moment_table import TABLE
from toymodels.engines.registry import choose
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment

FOLDS = 4
EDGE = 64
"""Folds begin at multiples of it: whole registers of samples, and whole blocks of the stream."""


@dataclass(frozen=True)
class Moments:
    """Means over samples, float64 unless said otherwise: what is in the table of `toymodels.engines.moment_table`."""

    samples: int
    active: Tensor
    """[model, feature], int64: in how many samples the feature is active"""
    t: Tensor
    """E t, [model, target]"""
    tt: Tensor
    """E t^2, [model, target]"""
    y: Tensor
    """E y, [model, target]"""
    yy: Tensor
    """E y^2, [model, target]"""
    squared_error: Tensor
    """E (t - y)^2, [model, target]"""
    cost: Tensor
    """E loss(t, y), [model, target]: the squared error, or what another loss makes of it"""
    squared_loss: Tensor
    """E (sum_i I_i loss(t_i, y_i))^2, [model]: the second moment of a sample's loss"""
    tap: dict[str, Tensor]
    """E tap, [model, hidden]"""
    tap_squared: dict[str, Tensor]
    """E tap^2, [model, hidden]"""
    tap_target: dict[str, Tensor]
    """E tap t, [model, hidden, target]"""
    tap_tap: dict[str, Tensor]
    """E tap tap', [model, hidden, hidden]"""
    mid_pre: Tensor
    """E act(z) z', [model, hidden, hidden]"""
    folds: tuple[Moments, ...] = ()
    """the same of `FOLDS` stretches of these samples, for whatever must be fitted on other data than it is judged by"""

    @property
    def target_variance(self) -> Tensor:
        """Var t on these samples, [model, target]."""
        return self.tt - self.t.square()

    def tap_variance(self, tap: str) -> Tensor:
        """Var tap on these samples, [model, hidden]; rounding below 0 is cut."""
        return (self.tap_squared[tap] - self.tap[tap].square()).clamp(min=0)


@undisturbed
def collect(
    experiments: Sequence[Experiment], parameters: Parameters, samples: int, first: int = 0, *, folds: int = FOLDS
) -> Moments:
    """Run the models on fresh samples of their own stream and collect the moments, with those of ``folds`` folds.

    The ``samples`` samples from ``first`` on, a multiple of `EDGE`; by the engine that "auto" means for these models.
    """
    edges = [first + edge for edge in fold_edges(samples, folds)]
    engine = choose("auto", [experiments], parameters.W_in.device.type, parameters.W_in.dtype).engine
    by_fold = engine.moments(experiments, parameters, edges)
    sizes = [last - first for first, last in pairwise(edges)]
    parts = tuple(_moments(sums, size) for sums, size in zip(by_fold, sizes, strict=True))
    whole = {name: torch.stack([sums[name] for sums in by_fold]).sum(0) for name in by_fold[0]}
    return replace(_moments(whole, samples), folds=parts)


def fold_edges(samples: int, folds: int = FOLDS) -> list[int]:
    """Where folds of ``samples`` begin, and where the last ends; fewer than ``folds`` where samples are few."""
    inner = {round(samples * fold / folds / EDGE) * EDGE for fold in range(1, folds)}
    return [0, *sorted(edge for edge in inner if 0 < edge < samples), samples]


def together(parts: Sequence[Moments]) -> Moments:
    """The moments of all the samples of some folds."""
    samples = sum(part.samples for part in parts)

    def mean(values: Sequence[Tensor]) -> Tensor:
        return torch.stack([v * (part.samples / samples) for v, part in zip(values, parts, strict=True)]).sum(0)

    joined: dict[str, Any] = {"samples": samples, "active": torch.stack([part.active for part in parts]).sum(0)}
    for name, first in vars(parts[0]).items():
        if isinstance(first, dict):
            joined[name] = {tap: mean([getattr(part, name)[tap] for part in parts]) for tap in first}
        elif name not in ("samples", "active", "folds"):
            joined[name] = mean([getattr(part, name) for part in parts])
    return Moments(**joined)


def _moments(sums: Mapping[str, Tensor], samples: int) -> Moments:
    """The means of so many samples, row by row of the table of moments."""
    means: dict[str, Any] = {"samples": samples}
    for row in TABLE:
        if row.tap is not None:
            means.setdefault(row.name, {})[row.tap] = sums[row.key] / samples
        else:
            means[row.name] = sums[row.key].long() if row.name == "active" else sums[row.key] / samples
    return Moments(**means)
