"""Haar-random rotations of the hidden basis, from the stream: of all, or of those that leave the vector 1 where it is.

LayerNorm subtracts the mean over neurons, which singles out the direction of 1 = (1, ..., 1): a basis that LayerNorm
acts on may be rotated about it, and no further.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.random import Domain
from toymodels.surroundings import undisturbed


@undisturbed
def haar(seeds: np.ndarray, size: int, step: int) -> Tensor:
    """One Haar-random orthogonal matrix a seed: float64 ``[seed, size, size]``.

    QR of a Gaussian matrix, with the signs of R's diagonal moved into Q (Mezzadri 2007, *How to generate random
    matrices from the classical compact groups*); without that the result is not Haar.
    """
    normals = ndtri(random.uniforms(np.asarray(seeds, dtype=np.int64), size, size, step, Domain.ROTATION))
    return torch.stack([_rotation(torch.from_numpy(matrix)) for matrix in normals])


@undisturbed
def haar_about_ones(seeds: np.ndarray, size: int, step: int) -> Tensor:
    """One matrix a seed, Haar-random among the orthogonal matrices with Q 1 = 1: float64 ``[seed, size, size]``.

    B diag(1, R) B' with R Haar-random of one dimension less, and B orthogonal with first column 1 / sqrt(size).
    """
    if size == 1:
        return torch.ones(len(seeds), 1, 1, dtype=torch.float64)
    B = _basis_with_ones(size)
    rest = B[:, 1:]
    return B[:, :1] @ B[:, :1].T + rest @ haar(seeds, size - 1, step) @ rest.T


@lru_cache(maxsize=4)
@undisturbed
def drawn_rotations(size: int, draws: int, seed: int, *, about_ones: bool) -> Tensor:
    """So many rotations of one seed, the same in every call: float32 ``[draw, size, size]``."""
    of = haar_about_ones if about_ones else haar
    return torch.cat([of(np.array([seed], np.int64), size, step=1 + draw) for draw in range(draws)]).float()


def _basis_with_ones(size: int) -> Tensor:
    """An orthogonal matrix with first column 1 / sqrt(size): the reflection that takes the first axis there."""
    v = torch.full((size,), -(size**-0.5), dtype=torch.float64)
    v[0] += 1
    return torch.eye(size, dtype=torch.float64) - 2 * v[:, None] * v[None, :] / (v @ v)


def _rotation(normal: Tensor) -> Tensor:
    # One by one: LAPACK's last bit depends on where in a batch a matrix lies.
    q, r = torch.linalg.qr(normal)
    return q * torch.sign(torch.diagonal(r))
