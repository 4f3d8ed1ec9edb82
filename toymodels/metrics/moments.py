"""Moments: one pass over fresh data, from which every data-based measure is computed.

The sums run over evaluation samples: within a chunk of fixed size in the precision of the model, over chunks in
float64. Nothing of size (model x samples) is kept, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.data import Samples
from toymodels.engines import why_not_fused
from toymodels.engines.fused import moments as fused_moments
from toymodels.objectives import Squared
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, importances, sampler

CHUNK = 1024
TAPS = ("pre", "mid", "post")
FOLDS = 4
EDGE = 64
"""Folds begin at multiples of it: whole registers of samples, and whole blocks of the stream."""


@dataclass(frozen=True)
class Moments:
    """Means over samples, float64 unless said otherwise. t is the target, y the output, a tap one of `TAPS`."""

    samples: int
    active: Tensor
    """[model, feature], int64: in how many samples the feature is active"""
    t: Tensor
    """E t, [model, feature]"""
    tt: Tensor
    """E t^2, [model, feature]"""
    y: Tensor
    """E y, [model, feature]"""
    yy: Tensor
    """E y^2, [model, feature]"""
    squared_error: Tensor
    """E (t - y)^2, [model, feature]"""
    cost: Tensor
    """E loss(t, y), [model, feature]: the squared error, or what another loss makes of it"""
    squared_loss: Tensor
    """E (sum_i I_i loss(t_i, y_i))^2, [model]: the second moment of a sample's loss"""
    tap: dict[str, Tensor]
    """E tap, [model, hidden]"""
    tap_squared: dict[str, Tensor]
    """E tap^2, [model, hidden]"""
    tap_target: dict[str, Tensor]
    """E tap t, [model, hidden, feature]"""
    tap_tap: dict[str, Tensor]
    """E tap tap', [model, hidden, hidden]"""
    mid_pre: Tensor
    """E act(z) z', [model, hidden, hidden]"""
    folds: tuple[Moments, ...] = ()
    """the same of `FOLDS` stretches of these samples, for whatever must be fitted on other data than it is judged by"""

    @property
    def target_variance(self) -> Tensor:
        """Var t on these samples, [model, feature]."""
        return self.tt - self.t.square()

    def tap_variance(self, tap: str) -> Tensor:
        """Var tap on these samples, [model, hidden]; rounding below 0 is cut."""
        return (self.tap_squared[tap] - self.tap[tap].square()).clamp(min=0)


@undisturbed
def collect(experiments: Sequence[Experiment], parameters: Parameters, samples: int, first: int = 0) -> Moments:
    """Run the models on fresh samples of their own stream and collect the moments, with those of folds.

    The ``samples`` samples from ``first`` on, a multiple of `EDGE`. In fused kernels where there are some for these
    models; in torch operations, the reference, elsewhere.
    """
    edges = [first + edge for edge in fold_edges(samples)]
    if why_not_fused(experiments, parameters.W_in.device.type, parameters.W_in.dtype):
        folds = torch_sums(experiments, parameters, edges)
    else:
        found = fused_moments.sums(experiments, parameters, edges)
        folds = [{name: torch.from_numpy(value) for name, value in sums.items()} for sums in found]
    sizes = [last - first for first, last in pairwise(edges)]
    parts = tuple(_moments(sums, size) for sums, size in zip(folds, sizes, strict=True))
    whole = {name: torch.stack([sums[name] for sums in folds]).sum(0) for name in folds[0]}
    return replace(_moments(whole, samples), folds=parts)


def fold_edges(samples: int) -> list[int]:
    """Where folds of ``samples`` begin, and where the last ends; fewer than `FOLDS` where samples are few."""
    inner = {round(samples * fold / FOLDS / EDGE) * EDGE for fold in range(1, FOLDS)}
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


def torch_sums(
    experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]
) -> list[dict[str, Tensor]]:
    """What `Moments` holds, as sums over the samples between two edges, float64."""
    data, dtype = sampler(experiments), parameters.W_in.dtype
    importance = torch.from_numpy(importances(experiments)).to(dtype)
    return [_torch_sums(experiments[0], data, parameters, importance, first, last) for first, last in pairwise(edges)]


def _torch_sums(
    of: Experiment, data: Samples, parameters: Parameters, importance: Tensor, first: int, last: int
) -> dict[str, Tensor]:
    dtype = parameters.W_in.dtype
    sums: dict[str, Tensor] = {}

    def add(name: str, value: Tensor) -> None:
        sums[name] = sums[name] + value.double() if name in sums else value.double()

    for start in range(first, last, CHUNK):
        x = data.evaluation(start, min(CHUNK, last - start)).to(dtype)
        t = of.target(x)
        taps = forward(of.bottleneck, parameters, x)
        add("active", (x != 0).sum(2))
        add("t", t.sum(2))
        add("tt", t.square().sum(2))
        add("y", taps.out.sum(2))
        add("yy", taps.out.square().sum(2))
        cost = of.loss(t, taps.out)
        if isinstance(of.loss, Squared):
            add("squared_error", cost.sum(2))
        else:
            add("squared_error", (t - taps.out).square().sum(2))
            add("cost", cost.sum(2))
        add("squared_loss", (importance[:, :, None] * cost).sum(1).square().sum(1))
        for name in TAPS:
            tap = getattr(taps, name)
            add(f"tap {name}", tap.sum(2))
            add(f"tap_squared {name}", tap.square().sum(2))
            add(f"tap_target {name}", tap @ t.transpose(1, 2))
            add(f"tap_tap {name}", tap @ tap.transpose(1, 2))
        add("mid_pre", taps.mid @ taps.pre.transpose(1, 2))

    return sums


def _moments(sums: dict[str, Tensor], samples: int) -> Moments:
    def mean(name: str) -> Tensor:
        return sums[name] / samples

    def by_tap(name: str) -> dict[str, Tensor]:
        return {tap: mean(f"{name} {tap}") for tap in TAPS}

    return Moments(
        samples=samples,
        active=sums["active"].long(),
        t=mean("t"),
        tt=mean("tt"),
        y=mean("y"),
        yy=mean("yy"),
        squared_error=mean("squared_error"),
        cost=mean("cost" if "cost" in sums else "squared_error"),
        squared_loss=mean("squared_loss"),
        tap=by_tap("tap"),
        tap_squared=by_tap("tap_squared"),
        tap_target=by_tap("tap_target"),
        tap_tap=by_tap("tap_tap"),
        mid_pre=mean("mid_pre"),
    )
