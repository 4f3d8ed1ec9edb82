"""Scores of a dictionary against the truth: how near is each feature's latent, and how good a detector is it?

Of the match a dictionary is asked a cosine, and on fresh data an F1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.pairs import matching
from toymodels.surroundings import undisturbed

CHUNK = 4096
CONSTANT = 1e-12
"""Share of the mean square at or below which a variance is rounding."""


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
