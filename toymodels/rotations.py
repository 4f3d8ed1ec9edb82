"""Haar-random rotations of the hidden basis, from the stream: of all, or of those that leave the vector 1 where it is.

LayerNorm subtracts the mean over neurons, which singles out the direction of 1 = (1, ..., 1): a basis that LayerNorm
acts on may be rotated about it, and no further. Neurons of different blocks, or of different experts, read different
things: of such a layer the basis of each block may be rotated, and no further.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.bottleneck import Bottleneck
from toymodels.random import Domain
from toymodels.surroundings import undisturbed

BLOCK = 2**20
"""steps of the stream between one block's rotations and the next one's"""


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
def drawn_rotations(size: int, draws: int, seed: int, *, about_ones: bool, blocks: int = 1) -> Tensor:
    """So many rotations of one seed, the same in every call: float32 ``[draw, size, size]``.

    Block-diagonal, of so many equal ``blocks``, each random by itself; ``about_ones`` each leaves its own 1 in place.
    """
    of, within = haar_about_ones if about_ones else haar, size // blocks
    each = [
        torch.cat([of(np.array([seed], np.int64), within, step=1 + draw + BLOCK * block) for draw in range(draws)])
        for block in range(blocks)
    ]
    rotations = torch.zeros(draws, blocks, within, blocks, within, dtype=torch.float64)
    for block, of_block in enumerate(each):
        rotations[:, block, :, block] = of_block
    return rotations.view(draws, size, size).float()


def rotations_of(bottleneck: Bottleneck, draws: int, seed: int) -> Tensor:
    """The rotations of the hidden basis in which a layer's neurons could as well have been: `drawn_rotations`, about 1
    where a LayerNorm follows, within blocks or experts where there are some."""
    about_ones, blocks = bottleneck.layer_norm is not None, bottleneck.kinds_of_neurons
    return drawn_rotations(bottleneck.hidden, draws, seed, about_ones=about_ones, blocks=blocks)


def _basis_with_ones(size: int) -> Tensor:
    """An orthogonal matrix with first column 1 / sqrt(size): the reflection that takes the first axis there."""
    v = torch.full((size,), -(size**-0.5), dtype=torch.float64)
    v[0] += 1
    return torch.eye(size, dtype=torch.float64) - 2 * v[:, None] * v[None, :] / (v @ v)


def _rotation(normal: Tensor) -> Tensor:
    # One by one: LAPACK's last bit depends on where in a batch a matrix lies.
    q, r = torch.linalg.qr(normal)
    return q * torch.sign(torch.diagonal(r))
