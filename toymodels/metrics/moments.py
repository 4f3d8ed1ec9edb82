"""Moments: one pass over fresh data, from which every data-based measure is computed.

An engine takes the sums over evaluation samples: within a chunk of fixed size in the precision of the model, over
chunks in float64. Nothing of size (model x samples) is kept, so memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from toymodels.engines.moment_table import TABLE
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

Array = Tensor | np.ndarray
FOLDS = 4
EDGE = 64
"""Folds begin at multiples of it: whole registers of samples, and whole blocks of the stream."""


class ByTap(dict[str, Tensor]):
    """A number a tap; ``ValueError`` with the taps that there are for any other."""

    def __missing__(self, tap: str) -> Tensor:
        raise ValueError(f"tap: expected one of those with moments here ({', '.join(self) or 'none'}), got {tap!r:.60}")


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

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, dict):
                object.__setattr__(self, name, ByTap(value))

    def __repr__(self) -> str:
        models, targets = self.t.shape
        folds = f" in {len(self.folds)} folds" if self.folds else ""
        taps = ", ".join(f"{tap} ({mean.shape[1]})" for tap, mean in self.tap.items()) or "none"
        counts = f"{models} model{'s' * (models > 1)}, {targets} target{'s' * (targets > 1)}"
        return f"Moments: {counts}, {self.samples:,} samples{folds}, taps: {taps}"

    @property
    def target_variance(self) -> Tensor:
        """Var t on these samples, [model, target]."""
        return self.tt - self.t.square()

    def tap_variance(self, tap: str) -> Tensor:
        """Var tap on these samples, [model, hidden]; rounding below 0 is cut."""
        return (self.tap_squared[tap] - self.tap[tap].square()).clamp(min=0)

    @staticmethod
    def of(targets: Array, taps: Mapping[str, Array], said: Array | None = None) -> Moments:
        """The moments of activations from anywhere: of what a network shows, and what is known of its inputs.

            post = hidden activations, [hidden, sample];  t = 1 where a token is there, [target, sample]
            best_neuron_r2(Moments.of(t, {"post": post}), "post")

        ``targets`` [target, sample] or [model, target, sample]; ``taps`` by name, [hidden, sample] or [model, hidden,
        sample]: any of "pre", "mid" and "post", or names of one's own; ``said`` of the shape of ``targets``, what the
        network says of them. A target counts as active where it is not 0. Sums are float64. What was not given has no
        moments: NaN, or no entry. Raises ``ValueError`` for arrays of unlike samples, models or dimensions.
        """
        t, a, y = _like(targets, taps, said)
        edges = fold_edges(t.shape[2])
        return _of_parts([_of_part(t, a, y, slice(*edge)) for edge in pairwise(edges)])

    @staticmethod
    def of_batches(batches: Iterable[tuple[Array, Mapping[str, Array]]]) -> Moments:
        """The same of batches of (targets, taps), one after another, so that memory does not grow with samples.

        A fold is every `FOLDS`-th batch, so batches should be as good as independent.
        """
        parts = []
        for targets, taps in batches:
            t, a, y = _like(targets, taps, None)
            parts.append(_of_part(t, a, y, slice(None)))
        if not parts:
            raise ValueError("batches: expected at least one batch of targets and taps, got none")
        return _of_parts([together(parts[k::FOLDS]) for k in range(min(FOLDS, len(parts)))])


@undisturbed
def collect(host: Host, samples: int, first: int = 0, *, folds: int = FOLDS) -> Moments:
    """Run a host on its own examples and collect the moments, with those of ``folds`` folds.

    The ``samples`` samples from ``first`` on, a multiple of `EDGE`.
    """
    edges = [first + edge for edge in fold_edges(samples, folds)]
    by_fold = [{name: each.cpu() for name, each in sums.items()} for sums in host.moments(edges)]
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


def _like(targets: Array, taps: Mapping[str, Array], said: Array | None) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Targets, taps and what is said of targets as float64 [model, _, sample]; NaN where nothing is said."""
    t = _stacked("targets", targets)
    a = {name: _stacked(f"taps['{name}']", tap) for name, tap in taps.items()}
    y = torch.full_like(t, torch.nan) if said is None else _stacked("said", said)
    if y.shape != t.shape:
        raise ValueError(f"said: expected the shape of targets, {tuple(t.shape)}, got {tuple(y.shape)}")
    for name, tap in a.items():
        if (len(tap), tap.shape[2]) != (len(t), t.shape[2]):
            raise ValueError(
                f"taps['{name}']: expected {len(t)} models and {t.shape[2]} samples, as targets have, got {len(tap)} "
                f"and {tap.shape[2]}: samples are the last axis"
            )
    return t, a, y


def _stacked(name: str, values: Array) -> Tensor:
    tensor = torch.as_tensor(values).detach().to("cpu", torch.float64)
    if tensor.ndim not in (2, 3) or tensor.shape[-1] == 0:
        raise ValueError(f"{name}: expected [.., sample] or [model, .., sample], got shape {tuple(tensor.shape)}")
    return tensor if tensor.ndim == 3 else tensor[None]


def _of_part(t: Tensor, taps: Mapping[str, Tensor], y: Tensor, part: slice) -> Moments:
    """The moments of some of the samples, without folds."""
    t, y = t[:, :, part], y[:, :, part]
    a = {name: tap[:, :, part] for name, tap in taps.items()}
    error = (t - y).square()
    samples = t.shape[2]
    hidden = a["mid"].shape[1] if {"pre", "mid"} <= a.keys() else 0
    mid_pre = a["mid"] @ a["pre"].transpose(1, 2) / samples if hidden else torch.full((len(t), 0, 0), torch.nan)
    return Moments(
        samples=samples,
        active=(t != 0).sum(2),
        t=t.mean(2),
        tt=t.square().mean(2),
        y=y.mean(2),
        yy=y.square().mean(2),
        squared_error=error.mean(2),
        cost=error.mean(2),
        squared_loss=error.sum(1).square().mean(1),
        tap={name: tap.mean(2) for name, tap in a.items()},
        tap_squared={name: tap.square().mean(2) for name, tap in a.items()},
        tap_target={name: tap @ t.transpose(1, 2) / samples for name, tap in a.items()},
        tap_tap={name: tap @ tap.transpose(1, 2) / samples for name, tap in a.items()},
        mid_pre=mid_pre.double(),
    )


def _of_parts(folds: Sequence[Moments]) -> Moments:
    return replace(together(folds), folds=tuple(folds))
