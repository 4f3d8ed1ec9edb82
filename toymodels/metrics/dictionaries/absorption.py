"""Absorption: a parent's latent that is silent where a child is active, because the child's latent speaks for both.

Where a child feature c is active only with its parent p, a dictionary saves a latent by one that points along both, and
a latent for the parent that fires only without the child (Chanin et al. 2024, *A is for Absorption*). Of the latents
l(p) and l(c) that are matched to the two, with activations f and decoder columns D_l, in the plane of both directions,

    D_l = alpha_l Delta_p + beta_l Delta_c + what is orthogonal to both        (least squares)
    A = E [alpha_l(c) f_l(c)]_+,    P = E [alpha_l(p) f_l(p)]_+,    C = E [beta_l(c) f_l(c)]_+
    fraction_c = A / max(A + P, C)

over the samples in which c is active: of the parent, what the child's latent says and the parent's does not. In units
of Delta, which are those of a mean active value, there is as much of the parent in them as of the child: so C stands
for that where the parent's latent says nothing. 0 where l(c) has nothing of the parent, however the true directions
overlap; 1 where it carries the parent whole and l(p) is silent. Scale and order of the latents do not matter, nor does
a rotation of the activations. Latents beyond these two are not asked, as in few dimensions any has a component along
any direction. At a tap that is not linear in x a child's direction is better taken beside its parent, tap(e_p + e_c) -
tap(e_p): without it the child is never in the data. Karvonen et al. 2025 (*SAEBench*) have such a fraction of a probe's
direction, of all latents above thresholds, as without the truth it must be.

What it is no evidence of. ``fraction`` alone is not specific: a parent's latent that is silent with a child and fires
the rest of the time scores what one does that its children have absorbed; ``full`` carries the claim. Parents that are
merged with a child, and children without a latent, drop out: `Absorption.counted` is the share that is left. And where
values are binary, latents for {p alone, p and c_1, p and c_2, ...} are as valid a dictionary as {p, c_1, c_2, ...},
of a lower L0: absorption is then what its parts are called. A **null** is `of_wrong_parents`: the same dictionary and
data, the children given the parent of another tree. What it scores is no absorption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.pairs import matching
from toymodels.metrics.moments import Array
from toymodels.surroundings import undisturbed

CHUNK = 4096
CARRIED = 0.4
"""alpha as a share of beta from which a child's latent speaks for the parent; SAEBench has such a threshold."""
FOUND = 0.8
"""The |cosine| to its latent from which a parent has one. One that is merged with a single child has .71: it was never
there to be absorbed."""
PARALLEL = 1e-9
"""1 - cos^2 of two directions at or below which they are one, and no share can be told from the other."""


@dataclass(frozen=True)
class Absorption:
    """How far dictionaries absorb parents into their children: float64, a number a child. NaN for a feature without
    parent, without a latent, or never active on the data; and for the children of a parent without a latent that is
    `FOUND`, or of the child's own direction."""

    fraction: Tensor
    """what the child's latent says of the parent in the place of the parent's, [model, feature], from 0 to 1; see the
    module's equation"""
    full: Tensor
    """share of the samples with the child active in which the parent's latent is silent and the child's latent fires
    and carries the parent, alpha_l(c) >= `CARRIED` beta_l(c); [model, feature]"""
    silent: Tensor
    """share of the samples with the child active in which the parent's latent is silent, [model, feature]"""
    silent_alone: Tensor
    """the same of samples in which the parent is active and none of its children is, [model, feature]: what the
    dictionary misses anyway; NaN without such samples"""
    mean: Tensor
    """mean of ``fraction`` over the children that have one, [model]; NaN without any"""
    counted: Tensor
    """the share of all children that have a ``fraction``, [model]; NaN where no feature is a child"""


@undisturbed
def absorption(
    dictionary: Dictionary, activations: Tensor, active: Tensor, directions: Tensor, parents: Array | Sequence[int]
) -> Absorption:
    """`Absorption` on data the dictionary was not trained on; memory does not grow with samples. It is done where
    dictionary and data are, and returned on the CPU.

    ``activations [model, hidden, sample]``, ``active [model, feature, sample]`` bool, ``directions [model, hidden,
    feature]``, each as long as what its feature does at a mean active value, and ``parents [feature]``, -1 for a
    feature that has none, as `toymodels.firing.Tree.parents` says. Latents that fire are matched to features as in
    `score`. Raises ``ValueError`` for parents that are no features, or not one for each, as where features are signed:
    a latent is of one side only.
    """
    n_models, n_features, _ = active.shape
    parents = _checked(parents, n_features)
    device, here = activations.device, np.flatnonzero(parents >= 0)
    child, parent = (torch.from_numpy(each).to(device) for each in (here, parents.astype(np.int64)[here]))
    chunks = list(zip(activations.split(CHUNK, dim=2), active.split(CHUNK, dim=2), strict=True))
    alive = torch.zeros(dictionary.decoder.shape[::2], dtype=torch.bool, device=device)
    for a, _ in chunks:
        alive |= (dictionary.encode(a) > 0).any(2)
    decoder = torch.where(alive[:, None, :], dictionary.decoder, 0.0).double()
    match = matching(decoder, directions)

    latent, cosine = match.latent.to(device), match.cosine.to(device)
    of_both = latent[:, parent], latent[:, child]
    said = torch.zeros(2, n_models, len(child), dtype=torch.float64, device=device)
    counts = torch.zeros(5, n_models, len(child), dtype=torch.float64, device=device)
    for a, on in chunks:
        f = dictionary.encode(a)
        f_parent, f_child = (_at(f, each) for each in of_both)
        with_child = on[:, child]
        some_child = (
            torch.zeros(on.shape, dtype=torch.int64, device=device).index_add_(1, parent, with_child.long()) > 0
        )
        alone = (on & ~some_child)[:, parent]
        silent = f_parent <= 0
        said += torch.stack([(each * with_child).sum(2, dtype=torch.float64) for each in (f_parent, f_child)])
        of_chunk = with_child, with_child & silent, with_child & silent & (f_child > 0), alone, alone & silent
        counts += torch.stack([each.sum(2) for each in of_chunk])

    of_parent, _, apart = _shares(decoder, directions, of_both[0], parent, child)
    of_child, own, _ = _shares(decoder, directions, of_both[1], parent, child)
    by_parent, by_child = said * torch.stack([of_parent, of_child]).clamp(min=0)
    there_is = torch.maximum(by_parent + by_child, said[1] * own)
    seen, silent_with, full, alone, silent_alone = counts
    carries = (own > 0) & (of_child >= CARRIED * own)
    defined = apart & (cosine[:, parent] >= FOUND) & (of_both[1] >= 0) & (seen > 0)

    def by_feature(numbers: Tensor) -> Tensor:
        table = torch.full((n_models, n_features), torch.nan, dtype=torch.float64)
        table[:, here] = torch.where(defined, numbers, torch.nan).cpu()
        return table

    fraction = by_feature(torch.where(by_child > 0, by_child / there_is, 0.0))
    return Absorption(
        fraction=fraction,
        full=by_feature(torch.where(carries, full, 0.0) / seen),
        silent=by_feature(silent_with / seen),
        silent_alone=by_feature(silent_alone / alone),
        mean=fraction.nanmean(1),
        counted=fraction[:, here].isfinite().double().mean(1),
    )


def of_wrong_parents(
    dictionary: Dictionary,
    activations: Tensor,
    active: Tensor,
    directions: Tensor,
    parents: Array | Sequence[int],
    shift: int = 1,
) -> Absorption:
    """The null of `absorption`: every child is given the parent of another tree, of the same depth in it.

    The parents that have children are permuted among those of their depth, each giving way to the ``shift``-th after
    it, so that as many children are asked of each. Samples in which that parent is not active count as well: of them
    a silent parent is right. Raises ``ValueError`` as `absorption`, and where a parent is the only one of its depth or
    comes back to its own children.
    """
    parents = _checked(parents, active.shape[1])
    depth = _depths(parents)
    instead = np.arange(len(parents))
    having = np.unique(parents[parents >= 0])
    for level in np.unique(depth[having]):
        alike = having[depth[having] == level]
        if shift % len(alike) == 0:
            raise ValueError(f"shift: of {len(alike)} parents at depth {level} none is another's after {shift} steps")
        instead[alike] = np.roll(alike, -shift)
    wrong = np.where(parents >= 0, instead[parents], -1)
    return absorption(dictionary, activations, active, directions, wrong)


def _checked(parents: Array | Sequence[int], n_features: int) -> np.ndarray:
    parents = np.asarray(parents)
    whole = parents.shape == (n_features,) and parents.dtype.kind in "iu"
    if not whole or not ((parents >= -1) & (parents < n_features)).all():
        raise ValueError(f"parents: expected a feature or -1 for each of {n_features}, got {parents.tolist()!s:.60}")
    return parents


def _depths(parents: np.ndarray) -> np.ndarray:
    """How many ancestors each feature has. Raises ``ValueError`` where one is its own."""
    depth, above = np.zeros(len(parents), dtype=np.int64), parents
    while (above >= 0).any():
        if depth.max(initial=0) > len(parents):
            raise ValueError("parents: expected trees, got a feature that is its own ancestor")
        depth += above >= 0
        above = np.where(above >= 0, parents[above], -1)
    return depth


def _at(f: Tensor, latent: Tensor) -> Tensor:
    """f of one latent a pair, ``[model, pair, batch]``; 0 where there is none."""
    chosen = f.gather(1, latent.clamp(min=0)[:, :, None].expand(-1, -1, f.shape[2]))
    return torch.where(latent[:, :, None] >= 0, chosen, 0.0)


def _shares(
    decoder: Tensor, directions: Tensor, latent: Tensor, parent: Tensor, child: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """alpha and beta of the latent of each pair, ``[model, pair]``, and whether the pair's directions differ."""
    columns = decoder.gather(2, latent.clamp(min=0)[:, None, :].expand(-1, decoder.shape[1], -1))
    columns = torch.where(latent[:, None, :] >= 0, columns, 0.0)
    of_parent, of_child = directions.double()[:, :, parent], directions.double()[:, :, child]
    pp, cc, pc, pd, cd = (
        (one * other).sum(1)
        for one, other in (
            (of_parent, of_parent),
            (of_child, of_child),
            (of_parent, of_child),
            (of_parent, columns),
            (of_child, columns),
        )
    )
    determinant = pp * cc - pc.square()
    apart = determinant > PARALLEL * pp * cc
    determinant = torch.where(apart, determinant, 1.0)
    return (cc * pd - pc * cd) / determinant, (pp * cd - pc * pd) / determinant, apart
