"""A free lunch: more features in neurons at no more loss, of one arm of a regime against another.

An arm has two numbers a seed: its loss L as a fraction of the best constant's, and c, how many features sit in single
neurons. Arms of one regime are of equal task and size, and models of equal seed have seen the same data. Models a is a
free lunch for whoever has arm b if, over seeds,

    c(a) - c(b) > MORE = 3 features        (as of Q1, `toymodels.hypotheses.questions`)
    L(b) - L(a) > -NO_MORE = -.005

both, and the first for every way of counting c that is given: where the order of arms hangs on how purely a neuron must
stand for a feature, more features at one cut are fewer at another, and that lunch is paid for. Both margins were fixed
before any data was seen. A lunch that is claimed needs every part of it, so its p is the largest of theirs
(intersection-union test; Berger 1982); one that is denied needs one part to fail, so there it is their least times how
many they are. Whether *some* arm is a free lunch for b is asked of all others: p-values that support are
Holm-corrected over them; that none is needs each to be denied, which needs no correction.

The *front* are the arms that no other one matches in both loss and count and beats in one (Pareto). A *slope* is how
many features in neurons go with .01 of loss: positive where neurons are paid for with loss, negative where whatever has
less loss has more features in neurons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from toymodels.hypotheses.statistics.findings import Finding, from_seeds
from toymodels.hypotheses.statistics.intervals import TAIL, Status, holm

MORE = 3.0
"""features a model"""
NO_MORE = 0.005
"""of the loss fraction"""
NEAR = 1.01
"""times the least loss of some candidates: what comes below is as good as the best"""
UNIT = 0.01
"""of the loss fraction, that a slope is per"""
RESAMPLES = 999


@dataclass(frozen=True)
class Lunch:
    """What an arm offers whoever has another: how much loss it saves and, by each way of counting, how many features
    more it has in neurons; and both together, whose ``status`` is Holm-corrected over all arms that are offered."""

    saved: Finding
    more: Mapping[str, Finding]
    p_above: float
    p_below: float
    status: Status


def lunch(loss: Tensor, other_loss: Tensor, counts: Mapping[str, Tensor], other_counts: Mapping[str, Tensor]) -> Lunch:
    """What one arm offers whoever has the other: of losses [seed] and, by way of counting, counts [seed] of both."""
    saved = from_seeds("saved", other_loss - loss, -NO_MORE)
    more = {name: from_seeds(name, count - other_counts[name], MORE) for name, count in counts.items()}
    parts = [saved, *more.values()]
    above = max(part.p_above for part in parts)
    return _judged(Lunch(saved, more, above, min(1.0, len(parts) * min(p.p_below for p in parts)), saved.status))


def lunches(losses: Tensor, counts: Mapping[str, Tensor], arm: int) -> dict[int, Lunch]:
    """What every other arm offers whoever has ``arm``, by its place: of losses and counts [arm, seed] of all."""
    others = [place for place in range(len(losses)) if place != arm]
    of = {name: count[arm] for name, count in counts.items()}
    each = [lunch(losses[k], losses[arm], {name: c[k] for name, c in counts.items()}, of) for k in others]
    corrected = holm([offer.p_above for offer in each])
    return {k: _judged(replace(of, p_above=p)) for k, of, p in zip(others, each, corrected, strict=True)}


def any_free(offers: Mapping[int, Lunch]) -> Status:
    """Whether some arm is a free lunch: supported if one is, not supported if each is denied, else undetermined."""
    statuses = [offer.status for offer in offers.values()]
    if Status.SUPPORTED in statuses:
        return Status.SUPPORTED
    denied = all(status is Status.NOT_SUPPORTED for status in statuses)
    return Status.NOT_SUPPORTED if denied and statuses else Status.UNDETERMINED


def front(losses: Tensor, counts: Tensor) -> Tensor:
    """Which points no other one matches in both and beats in one: bool [..., point], of losses and counts [..., point].

    A point that is not finite is on no front.
    """
    there = losses.isfinite() & counts.isfinite()
    losses, counts = torch.where(there, losses, torch.inf), torch.where(there, counts, -torch.inf)
    L, c = losses[..., None, :], counts[..., None, :]  # of whoever beats, on the last axis
    no_worse = (L <= losses[..., None]) & (c >= counts[..., None])
    better = (L < losses[..., None]) | (c > counts[..., None])
    return there & ~(no_worse & better).any(-1)


def share_on_front(losses: Tensor, counts: Tensor) -> Tensor:
    """How often each arm is on the front of the means, over resamples of the seeds: [arm], of both [arm, seed].

    Seeds that some arm lacks are left out; NaN where none is left.
    """
    whole = (losses.isfinite() & counts.isfinite()).all(0)
    losses, counts = losses[:, whole], counts[:, whole]
    n = int(whole.sum())
    if n == 0:
        return torch.full((len(losses),), torch.nan, dtype=losses.dtype)
    drawn = torch.from_numpy(np.random.default_rng(n).integers(0, n, (RESAMPLES, n)))
    means = [of[:, drawn].mean(2).T for of in (losses, counts)]
    return front(*means).double().mean(0)


def slopes(losses: Tensor, counts: Tensor) -> Tensor:
    """Features in neurons per `UNIT` of loss, by least squares over the last axis: [...], of both [..., point].

    NaN where the losses of the points differ by less than `NO_MORE`, which has no slope.
    """
    there = losses.isfinite() & counts.isfinite()
    weight = there.to(losses.dtype) / there.sum(-1, keepdim=True)
    losses, counts = torch.where(there, losses, 0.0), torch.where(there, counts, 0.0)
    L = (losses - (weight * losses).sum(-1, keepdim=True)) * there
    c = (counts - (weight * counts).sum(-1, keepdim=True)) * there
    spread = L.amax(-1) - L.amin(-1)
    return torch.where(spread >= NO_MORE, UNIT * (L * c).sum(-1) / L.square().sum(-1), torch.nan)


@dataclass(frozen=True)
class NearBest:
    """Candidates of one arm whose loss is within 1 % of the least, and how many features in neurons these have."""

    candidates: int
    near: int
    """how many of them, the best among them"""
    at_best: float
    least: float
    most: float


def near_best(losses: Tensor, counts: Tensor) -> NearBest:
    """Of candidates with losses and counts [candidate]; NaN where one diverged. NaN throughout where all did."""
    found = losses.isfinite() & counts.isfinite()
    losses, counts = losses[found], counts[found]
    if not len(losses):
        return NearBest(len(found), 0, float("nan"), float("nan"), float("nan"))
    near = counts[losses <= NEAR * losses.min()]
    return NearBest(len(found), len(near), float(counts[losses.argmin()]), float(near.min()), float(near.max()))


def _judged(offer: Lunch) -> Lunch:
    supported, denied = offer.p_above < TAIL, offer.p_below < TAIL
    status = Status.SUPPORTED if supported else Status.NOT_SUPPORTED if denied else Status.UNDETERMINED
    return replace(offer, status=status)
