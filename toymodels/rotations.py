"""Haar-random rotations of the hidden basis, from the stream."""

from __future__ import annotations

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


def _rotation(normal: Tensor) -> Tensor:
    # One by one: LAPACK's last bit depends on where in a batch a matrix lies.
    q, r = torch.linalg.qr(normal)
    return q * torch.sign(torch.diagonal(r))
