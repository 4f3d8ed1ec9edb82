"""Sparse dictionaries: features sought in activations without labels, by sparse autoencoders.

With u = a / scale, scale^2 = E |a|^2, so that one penalty means the same in every model:

    z = E u + c, f = z where a latent answers, else 0      [model, latent, batch]
    u_hat = D f + d,  |D_l| = 1                            [model, hidden, batch]
    loss = E |u - u_hat|^2 and what the kind adds, summed over models

Which latents answer is the kind's: those above 0, under a penalty on their sum (`L1`); the k largest of an example
(`TopK`) or of a batch (`BatchTopK`); those above a threshold that is trained (`JumpReLU`). `Matryoshka` nests
dictionaries of any of these kinds in one another. Every product is one model's own, so gradients never mix. `fit`
trains them, `choose` gives them the truth's sparsity, `score` holds them against the truth.
"""

from __future__ import annotations

from toymodels.metrics.dictionaries.absorption import Absorption, absorption, of_wrong_parents
from toymodels.metrics.dictionaries.batch_top_k import BatchTopK
from toymodels.metrics.dictionaries.chance import Chance, by_chance
from toymodels.metrics.dictionaries.choosing import Choice, choose, top_k
from toymodels.metrics.dictionaries.dictionary import Dictionary
from toymodels.metrics.dictionaries.jump_relu import JumpReLU
from toymodels.metrics.dictionaries.l1 import L1
from toymodels.metrics.dictionaries.learning import fit
from toymodels.metrics.dictionaries.matryoshka import Matryoshka
from toymodels.metrics.dictionaries.pairs import Matching, matching, nearest
from toymodels.metrics.dictionaries.scores import Scores, score
from toymodels.metrics.dictionaries.sparsity import PENALTIES, Sparsity
from toymodels.metrics.dictionaries.top_k import TopK
from toymodels.metrics.dictionaries.truth import activations, beside_parents

__all__ = [
    "L1",
    "PENALTIES",
    "Absorption",
    "BatchTopK",
    "Chance",
    "Choice",
    "Dictionary",
    "JumpReLU",
    "Matching",
    "Matryoshka",
    "Scores",
    "Sparsity",
    "TopK",
    "absorption",
    "activations",
    "beside_parents",
    "by_chance",
    "choose",
    "fit",
    "matching",
    "nearest",
    "of_wrong_parents",
    "score",
    "top_k",
]
