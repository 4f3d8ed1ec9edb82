"""Scores of a dictionary against the truth: how near is each feature's latent, and how good a detector is it?

Of the match a dictionary is asked a cosine, and on fresh data precision, recall and F1. Beside each stands what a
random dictionary would score.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from toymodels.layer_norm import apart_from_common
from toymodels.metrics.dictionaries.chance import DRAWS, by_chance
from toymodels.metrics.dictionaries.detection import detect
from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.pairs import matching, nearest
from toymodels.surroundings import undisturbed

BY_FEATURE = ("cosine", "max_cosine", "max_absolute_cosine", "precision", "recall", "f1", "kept")
"""the scores that are a number a feature"""


@dataclass(frozen=True)
class Scores:
    """What a dictionary found; float64 unless said otherwise.

    What is said of *latents that fire*, and all that asks whether they do, needs an encoder. Without one every latent
    counts as one that fires, and the rest is NaN: precision, recall, f1, kept, classification_f1, l0, unexplained, r2,
    shrinkage, dead_latents.
    """

    cosine: Tensor
    """|cos| of feature and matched latent, [model, feature], of signed features max(0, cos); 0 for an unmatched one"""
    max_cosine: Tensor
    """largest cos over latents that fire, [model, feature], in [-1, 1]; 0 without a direction, or where none fires"""
    max_absolute_cosine: Tensor
    """largest |cos| over latents that fire, [model, feature]"""
    precision: Tensor
    """of 'matched latent > 0' as a detector of 'feature active', [model, feature]: the share of samples on which the
    latent fires that have the feature; 0 for an unmatched feature, NaN for one never active on the data"""
    recall: Tensor
    """the share of samples with the feature on which the latent fires, [model, feature]; 0 and NaN likewise"""
    f1: Tensor
    """the harmonic mean of precision and recall, [model, feature]; 0 and NaN likewise"""
    kept: Tensor
    """by feature how much of its effect along its own direction v_i is in the reconstruction a_hat, [model, feature]:
    (E[v_i . a_hat | i active] - E[v_i . a_hat | i not active]) / (the same of a); 1 where nothing shrinks"""
    latent: Tensor
    """the matched latent, int64 [model, feature]; -1 for an unmatched feature"""
    mcc: Tensor
    """mean of ``cosine`` over all features, [model]"""
    mcc_matched: Tensor
    """mean of ``cosine`` over matched features, [model]; NaN without one"""
    mcc_by_chance: Tensor
    """``mcc`` of as many random directions, [model]: the mean over seeded draws"""
    mmcs: Tensor
    """mean max cosine similarity: the mean of ``max_cosine``, [model]; a dictionary of mirrored directions does not
    score 1 (Sharkey, Braun, Millidge 2022)"""
    mmcs_by_chance: Tensor
    """``mmcs`` of as many random directions, [model], exact"""
    mmcs_absolute: Tensor
    """the mean of ``max_absolute_cosine``, [model], which takes a direction and its mirror image for one"""
    mmcs_absolute_by_chance: Tensor
    """the same of random directions, exact"""
    uniqueness: Tensor
    """how many different features are the nearest (by |cos|) of some latent, over the number of latents, [model]; dead
    latents count (Chanin & Garriga-Alonso 2026, and SAELens' ``sae_lens.synthetic``)"""
    classification_f1: Tensor
    """the mean over latents, dead ones too, of F1 as a detector of the nearest feature, [model]; 0 where it is
    undefined (the same source). Duplicates of a latent raise it, which they do not ``f1``"""
    l0: Tensor
    """mean number of active latents, [model]"""
    unexplained: Tensor
    """share of the activations' variance that the reconstruction misses, [model]; NaN where they do not vary"""
    shrinkage: Tensor
    """E |a_hat| / E |a|, [model]; NaN where a is 0. (SAELens has the mean of |a_hat| / |a|, which small a decide.)"""
    dead_latents: Tensor
    """latents that fired on no sample, [model]"""

    @property
    def r2(self) -> Tensor:
        """Share of the activations' variance that the reconstruction explains, 1 - ``unexplained``: [model]."""
        return 1 - self.unexplained

    def means(self, of: Tensor) -> dict[str, Tensor]:
        """The means of `BY_FEATURE` over some features, as those of one tier, ``of`` bool [model, feature]: by name
        [model]. What is undefined is left out, and the mean of nothing is NaN."""
        each = {name: getattr(self, name) for name in BY_FEATURE}
        return {name: torch.where(of, score, torch.nan).nanmean(1) for name, score in each.items()}


@undisturbed
def score(
    dictionary: Dictionary,
    activations: Tensor,
    active: Tensor,
    directions: Tensor,
    *,
    signed: bool = False,
    up_to_common: bool = False,
    draws: int = DRAWS,
) -> Scores:
    """`Scores` on data the dictionary was not trained on; counts are exact, memory does not grow with samples.

    ``activations [model, hidden, sample]``, ``active [model, feature, sample]`` bool, ``directions [model, hidden,
    feature]``, ``signed`` where these are the two sides of signed features; ``draws`` random dictionaries give the
    matching by chance. A latent that fires on none of the samples is dead and matched to nothing. A dictionary without
    an encoder is asked for its directions alone: see `Scores`.

    ``up_to_common`` where a LayerNorm reads the activations (`toymodels.metrics.gauge`): latents, directions,
    activations and reconstructions are then compared about their means over neurons. What the encoder reads it reads as
    it is.

    Dictionary and data are on one device, where it is done but for the matching; what is returned is on the CPU.
    """
    seen_as = apart_from_common if up_to_common else _as_it_is
    decoder, directions = seen_as(dictionary.decoder).cpu(), seen_as(directions).cpu()
    n_models, _, n_latents = dictionary.decoder.shape
    with_encoder = dictionary.encoder is not None
    found = detect(dictionary, activations, active, seen_as) if with_encoder else None
    alive = torch.ones(n_models, n_latents, dtype=torch.bool) if found is None else found.fired > 0
    match = matching(torch.where(alive[:, None, :], decoder, 0.0), directions, signed=signed)
    closest = nearest(decoder, directions, signed=signed)
    chance = by_chance(directions, n_latents, signed=signed, draws=draws)
    nothing = partial(torch.full, fill_value=torch.nan, dtype=torch.float64)
    by_feature, by_model = nothing(match.latent.shape), nothing((n_models,))
    precision, recall, f1 = (by_feature,) * 3 if found is None else found.detectors(match.latent)
    return Scores(
        cosine=match.cosine,
        max_cosine=match.max_cosine,
        max_absolute_cosine=match.max_absolute_cosine,
        precision=precision,
        recall=recall,
        f1=f1,
        kept=by_feature if found is None else found.kept_of(directions),
        latent=match.latent,
        mcc=match.cosine.mean(1),
        mcc_matched=match.cosine.sum(1) / (match.latent >= 0).sum(1),
        mcc_by_chance=chance.mcc,
        mmcs=match.max_cosine.mean(1),
        mmcs_by_chance=chance.mmcs,
        mmcs_absolute=match.max_absolute_cosine.mean(1),
        mmcs_absolute_by_chance=chance.mmcs_absolute,
        uniqueness=_different(closest) / n_latents,
        classification_f1=by_model if found is None else found.classification(closest).mean(1),
        l0=by_model if found is None else found.fired.sum(1).double() / found.samples,
        unexplained=by_model if found is None else found.unexplained(),
        shrinkage=by_model if found is None else found.lengths[1] / found.lengths[0],
        dead_latents=by_model if found is None else (~alive).sum(1).double(),
    )


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _different(closest: Tensor) -> Tensor:
    """How many different features are in ``closest [model, latent]``, -1 being none: float64 [model]."""
    return torch.tensor([each[each >= 0].unique().numel() for each in closest], dtype=torch.float64)
