"""Sparse dictionaries: features sought in activations without labels, by sparse autoencoders.

With u = a / scale, scale^2 = E |a|^2, so that one penalty means the same in every model:

    f = ReLU(E u + c), or the k largest of it      [model, latent, batch]
    u_hat = D f + d,  |D_l| = 1                    [model, hidden, batch]
    loss = E |u - u_hat|^2 + penalty E sum_l f_l,  summed over models

Every product is one model's own, so gradients never mix. `fit` trains them, `choose` picks a penalty, `score` holds
them against the truth.
"""

from __future__ import annotations

from toymodels.metrics.dictionaries.absorption import Absorption, absorption
from toymodels.metrics.dictionaries.choosing import PENALTIES, Choice, choose, top_k
from toymodels.metrics.dictionaries.dictionary import L1, Dictionary, TopK
from toymodels.metrics.dictionaries.learning import fit
from toymodels.metrics.dictionaries.pairs import Matching, matching
from toymodels.metrics.dictionaries.scores import Scores, score
from toymodels.metrics.dictionaries.truth import activations

__all__ = [
    "L1",
    "PENALTIES",
    "Absorption",
    "Choice",
    "Dictionary",
    "Matching",
    "Scores",
    "TopK",
    "absorption",
    "activations",
    "choose",
    "fit",
    "matching",
    "score",
    "top_k",
]
