"""Scores of sparse dictionaries against the truth: which latent is which feature, and how good a detector is it?

The true direction of feature i at a tap is Delta_i = tap(e_i) - tap(0), with e_i at the feature's mean active value.
Latents are matched to features one to one, so that sum_i |cos(D_l(i), Delta_i)| is largest. Of the match a dictionary
is asked a cosine, and on fresh data an F1. In few dimensions any direction is near some latent: a cosine means
something only beside that of a random dictionary.

A latent is never negative, so to a dictionary a signed feature is two: the directions of e_i and of -e_i, active where
x_i > 0 and where x_i < 0. The n positive sides stand first, then the n negative ones, and each counts as a feature. The
two may be opposite, and a latent that points along one is no detector of the other: there (``signed``) max(0, cos)
takes the place of |cos|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.metrics.dictionaries import Dictionary
from toymodels.metrics.recovery import UNMOVED
from toymodels.metrics.responses import mean_active_values, sides
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler

CHUNK = 4096
CONSTANT = 1e-12
"""Share of the mean square at or below which a variance is rounding."""


@dataclass(frozen=True)
class Matching:
    """One-to-one pairs of features and latents, from `matching`."""

    latent: Tensor
    """[model, feature], int64; -1 for an unmatched feature"""
    cosine: Tensor
    """|cos| of the pair, [model, feature], of signed features max(0, cos); 0 for an unmatched feature"""
    max_cosine: Tensor
    """The largest cos over all latents, matched or not, [model, feature], in [-1, 1]; 0 for a feature without
    direction, or where there is no latent"""
    max_absolute_cosine: Tensor
    """The same of |cos|: a latent that points the other way counts as if it did not"""


@dataclass(frozen=True)
class Scores:
    """What a dictionary found; float64 unless said otherwise."""

    cosine: Tensor
    """|cos| of feature and matched latent, [model, feature], of signed features max(0, cos); 0 for an unmatched one"""
    max_cosine: Tensor
    """largest cos over latents that fire, [model, feature], in [-1, 1]; 0 without a direction, or where none fires"""
    max_absolute_cosine: Tensor
    """largest |cos| over latents that fire, [model, feature]"""
    f1: Tensor
    """of 'matched latent > 0' as a detector of 'feature active', [model, feature]; 0 for an unmatched feature, NaN for
    one never active on the data"""
    latent: Tensor
    """the matched latent, int64 [model, feature]; -1 for an unmatched feature"""
    mcc: Tensor
    """mean of ``cosine`` over all features, [model]"""
    mcc_matched: Tensor
    """mean of ``cosine`` over matched features, [model]; NaN without one"""
    mmcs: Tensor
    """mean max cosine similarity: the mean of ``max_cosine``, [model]; a dictionary of mirrored directions does not
    score 1 (Sharkey, Braun, Millidge 2022)"""
    mmcs_absolute: Tensor
    """the mean of ``max_absolute_cosine``, [model], which takes a direction and its mirror image for one"""
    l0: Tensor
    """mean number of active latents, [model]"""
    unexplained: Tensor
    """share of the activations' variance that the reconstruction misses, [model]; NaN where they do not vary"""
    dead_latents: Tensor
    """latents that fired on no sample, int64 [model]"""


@undisturbed
def matching(decoder: Tensor, directions: Tensor, *, signed: bool = False) -> Matching:
    """The assignment that maximises the sum of |cosine| between columns (Kuhn 1955, *The Hungarian method*), or, where
    features are ``signed``, of max(0, cosine).

    ``decoder [model, hidden, latent]``, ``directions [model, hidden, feature]``. A column of zeros, or one that is not
    finite, is matched to nothing; so is a direction no longer than 1e-6 of its model's longest.
    """
    atoms, features = _units(decoder), _units(directions)
    cosines = (features.transpose(1, 2) @ atoms).clamp(-1, 1)
    usable_atoms, usable_features = atoms.any(1), features.any(1)
    there = usable_features[:, :, None] & usable_atoms[:, None, :]
    worth = cosines.clamp(min=0) if signed else cosines.abs()
    latent = torch.full(features.shape[::2], -1, dtype=torch.int64)
    cosine = torch.zeros(features.shape[::2], dtype=torch.float64)
    for m, of_model in enumerate(worth):
        rows, columns = usable_features[m].nonzero()[:, 0], usable_atoms[m].nonzero()[:, 0]
        chosen = linear_sum_assignment(of_model[rows][:, columns].numpy(), maximize=True)
        row, column = rows[torch.from_numpy(chosen[0])], columns[torch.from_numpy(chosen[1])]
        latent[m, row], cosine[m, row] = column, of_model[row, column]
    # What is not there must not count as a right angle, which is better than every living latent may be.
    largest = torch.where(there, cosines, -torch.inf).amax(2)
    return Matching(latent, cosine, torch.where(there.any(2), largest, 0.0), cosines.abs().amax(2))


def _units(columns: Tensor) -> Tensor:
    """Columns at norm 1, float64; zeros where a column is negligible or not finite."""
    columns = columns.double()
    norm = torch.linalg.vector_norm(columns, dim=1, keepdim=True)
    longest = torch.where(norm.isfinite(), norm, 0.0).amax(2, keepdim=True)
    usable = norm.isfinite() & (norm > UNMOVED * longest)
    return torch.where(usable, columns / norm, 0.0)


@undisturbed
def score(
    dictionary: Dictionary, activations: Tensor, active: Tensor, directions: Tensor, *, signed: bool = False
) -> Scores:
    """`Scores` on data the dictionary was not trained on; counts are exact, memory does not grow with samples.

    ``activations [model, hidden, sample]``, ``active [model, feature, sample]`` bool, ``directions [model, hidden,
    feature]``, ``signed`` where these are the two sides of signed features. A latent that fires on none of the samples
    is dead and matched to nothing.
    """
    n_models, n_latents, _ = dictionary.encoder.shape
    n_features, samples = active.shape[1:]
    mean = activations.mean(2, keepdim=True, dtype=torch.float64)
    together = torch.zeros(n_models, n_features, n_latents, dtype=torch.float64)
    fired = torch.zeros(n_models, n_latents, dtype=torch.int64)
    squares, missed, variance = torch.zeros(3, n_models, dtype=torch.float64)
    for a, on in zip(activations.split(CHUNK, dim=2), active.split(CHUNK, dim=2), strict=True):
        f = dictionary.encode(a)
        firing = f > 0
        fired += firing.sum(2)
        together += on.float() @ firing.float().transpose(1, 2)  # whole numbers below 2^24: exact
        squares += a.double().square().sum((1, 2))
        missed += (a.double() - dictionary.decode(f)).square().sum((1, 2))
        variance += (a.double() - mean).square().sum((1, 2))

    alive = fired > 0
    match = matching(torch.where(alive[:, None, :], dictionary.decoder, 0.0), directions, signed=signed)
    matched, column = match.latent >= 0, match.latent.clamp(min=0)
    both = together.gather(2, column[:, :, None])[:, :, 0]
    seen = active.sum(2)
    f1 = torch.where(matched, 2 * both / (fired.gather(1, column) + seen), 0.0)
    return Scores(
        cosine=match.cosine,
        max_cosine=match.max_cosine,
        max_absolute_cosine=match.max_absolute_cosine,
        f1=torch.where(seen > 0, f1, torch.nan),
        latent=match.latent,
        mcc=match.cosine.mean(1),
        mcc_matched=match.cosine.sum(1) / matched.sum(1),
        mmcs=match.max_cosine.mean(1),
        mmcs_absolute=match.max_absolute_cosine.mean(1),
        l0=fired.sum(1).double() / samples,
        unexplained=torch.where(variance > CONSTANT * squares, missed / variance, torch.nan),
        dead_latents=(~alive).sum(1),
    )


@undisturbed
def activations(
    experiments: Sequence[Experiment], parameters: Parameters, tap: str, first: int, samples: int
) -> tuple[Tensor, Tensor]:
    """What a dictionary is trained and scored on: ``tap`` one of `moments.TAPS`, ``first`` a multiple of 4.

    Returns the tap ``[model, hidden, sample]`` on evaluation samples of each model's own stream, and which features are
    active in them, bool ``[model, feature, sample]``: x_i != 0, of signed features x_i > 0 and then x_i < 0, ``[model,
    2 x feature, sample]``.
    """
    x = sampler(experiments).evaluation(first, samples)
    active = torch.cat([x > 0, x < 0], 1) if experiments[0].features.signed else x != 0
    return _at(experiments, parameters, tap, x), active


@undisturbed
def directions(experiments: Sequence[Experiment], parameters: Parameters, tap: str) -> Tensor:
    """Delta_i at ``tap``, ``[model, hidden, feature]``: the response to feature i alone; see the module's equation. Of
    signed features ``[model, hidden, 2 x feature]``, the positive sides first."""
    features = experiments[0].features
    each = [sign * torch.eye(features.n) for sign in sides(signed=features.signed)]
    alone = torch.cat([*each, torch.zeros(features.n, 1)], 1)  # the last column is x = 0
    x = alone * mean_active_values(experiments, alone)[:, :, None]
    response = _at(experiments, parameters, tap, x)
    return response[:, :, :-1] - response[:, :, -1:]


def _at(experiments: Sequence[Experiment], parameters: Parameters, tap: str, x: Tensor) -> Tensor:
    return getattr(forward(experiments[0].bottleneck, parameters, x.to(parameters.W_in)), tap)
