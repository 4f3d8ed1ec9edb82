"""Chance: what a dictionary of random directions scores. In few dimensions every direction is near some latent.

The cosine t of a unit vector of R^m, drawn at random, with a fixed one has t^2 ~ Beta(1/2, (m - 1)/2), and those of L
vectors drawn independently are independent. So the largest is known, whatever the features are:

    E max_l |t_l| = int_0^1 1 - F(t)^L dt,  F(t) = I_{t^2}(1/2, (m - 1)/2)
    E max_l t_l = int_0^1 1 - ((1 + F(t)) / 2)^L - ((1 - F(t)) / 2)^L dt

A matching shares the latents out among the features, and has its mean over drawn dictionaries; of a single feature it
takes the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from toymodels.metrics.dictionaries.pairs import has_direction, matching
from toymodels.quadrature import legendre
from toymodels.surroundings import undisturbed

DRAWS = 32
"""random dictionaries whose matchings are averaged"""
NODES = 256
"""of the quadrature over t"""


@dataclass(frozen=True)
class Chance:
    """Mean scores of dictionaries of as many random directions, [model] each; see `Scores` for what they are."""

    mcc: Tensor
    mmcs: Tensor
    mmcs_absolute: Tensor


@undisturbed
def by_chance(directions: Tensor, latents: int, *, signed: bool = False, draws: int = DRAWS) -> Chance:
    """`Chance` of ``latents`` directions drawn uniformly, against ``directions [model, hidden, feature]``.

    MMCS is exact, MCC the mean over ``draws`` seeded dictionaries, the same for every model; exact where one feature
    alone has a direction. (With 32 draws and 64 features in 32 dimensions its standard error is below .002.)
    """
    n_models, n_hidden, n_features = directions.shape
    there = has_direction(directions).double()
    cosine = largest_cosine(n_hidden, latents)
    mcc = torch.zeros(n_models, dtype=torch.float64)
    for draw in range(draws):
        noise = np.random.default_rng([draw, n_hidden, latents]).standard_normal((n_hidden, latents))
        atoms = torch.from_numpy(noise).expand(n_models, -1, -1)
        mcc += matching(atoms, directions, signed=signed).cosine.mean(1) / draws
    alone = cosine.positive if signed else cosine.absolute
    return Chance(
        mcc=torch.where(there.sum(1) == 1, alone / n_features, mcc),
        mmcs=cosine.oriented * there.mean(1),
        mmcs_absolute=cosine.absolute * there.mean(1),
    )


class LargestCosine(NamedTuple):
    """Expected largest cosines with a fixed direction: of t, of |t| and of max(0, t)."""

    oriented: float
    absolute: float
    positive: float


@cache
def largest_cosine(n_hidden: int, latents: int) -> LargestCosine:
    """`LargestCosine` of ``latents`` random directions; see the module's equations. 0 without any."""
    if latents == 0:
        return LargestCosine(0, 0, 0)
    s, weight = (each.numpy() for each in legendre(NODES))
    t = np.sin(s * np.pi / 2)  # F has a root at t = 1 in two dimensions, and is smooth in the angle
    dt = weight * np.pi / 2 * np.cos(s * np.pi / 2)
    F = betainc(0.5, (n_hidden - 1) / 2, t**2) if n_hidden > 1 else np.zeros(NODES)
    positive = float(((1 - ((1 + F) / 2) ** latents) * dt).sum())
    negative = float((((1 - F) / 2) ** latents * dt).sum())
    oriented = positive - negative if latents > 1 else 0.0  # of a single one, whose cosine is as often below 0
    return LargestCosine(oriented, float(((1 - F**latents) * dt).sum()), positive)
