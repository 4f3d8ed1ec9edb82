"""Matching: which latent is which feature?

Latents are matched to features one to one, so that sum_i |cos(D_l(i), Delta_i)| is largest. In few dimensions any
direction is near some latent: a cosine means something only beside that of a random dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from toymodels.metrics.recovery import UNMOVED
from toymodels.surroundings import undisturbed


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


@undisturbed
def nearest(decoder: Tensor, directions: Tensor, *, signed: bool = False) -> Tensor:
    """Which feature's direction has the largest |cosine| with each latent's, or, where features are ``signed``, the
    largest cosine: int64 [model, latent]; -1 for a latent without direction, and where no feature has one."""
    atoms, features = _units(decoder), _units(directions)
    cosines = atoms.transpose(1, 2) @ features
    there = atoms.any(1)[:, :, None] & features.any(1)[:, None, :]
    worth = torch.where(there, cosines if signed else cosines.abs(), -torch.inf)
    if features.shape[2] == 0:
        return torch.full(atoms.shape[::2], -1)
    return torch.where(there.any(2), worth.argmax(2), -1)


def has_direction(directions: Tensor) -> Tensor:
    """Which columns of ``[model, hidden, feature]`` are finite and not negligible beside the longest, bool [model,
    feature]."""
    return _units(directions).any(1)


def _units(columns: Tensor) -> Tensor:
    """Columns at norm 1, float64, on the CPU, where SciPy matches them; zeros where a column is negligible or not
    finite."""
    columns = columns.to("cpu", torch.float64)
    norm = torch.linalg.vector_norm(columns, dim=1, keepdim=True)
    longest = torch.where(norm.isfinite(), norm, 0.0).amax(2, keepdim=True)
    usable = norm.isfinite() & (norm > UNMOVED * longest)
    return torch.where(usable, columns / norm, 0.0)
