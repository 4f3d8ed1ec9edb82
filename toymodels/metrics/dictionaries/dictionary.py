"""A dictionary: how latents are made of activations and activations of latents, and its two kinds of sparsity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from toymodels.kernels.largest import keep_largest


@dataclass(frozen=True)
class L1:
    """A penalty on the sum of the latents, one for all models or one each.

    Cunningham et al. 2023, *Sparse Autoencoders Find Highly Interpretable Features in Language Models*; Bricken et al.
    2023, *Towards Monosemanticity*.
    """

    penalty: float | tuple[float, ...]

    def __post_init__(self) -> None:
        for penalty in np.atleast_1d(self.penalty).tolist():
            if not (math.isfinite(penalty) and penalty >= 0):
                raise ValueError(f"penalty: expected a number >= 0, got {penalty}")


@dataclass(frozen=True)
class TopK:
    """Only the ``k`` largest latents of an example stay, one k for all models or one each.

    Makhzani & Frey 2013, *k-Sparse Autoencoders*; Gao et al. 2024, *Scaling and evaluating sparse autoencoders*.
    """

    k: int | tuple[int, ...]

    def __post_init__(self) -> None:
        for k in np.atleast_1d(self.k).tolist():
            if not (isinstance(k, int) and k >= 1):
                raise ValueError(f"k: expected a whole number >= 1, got {k}")


@dataclass(frozen=True)
class Dictionary:
    """Trained dictionaries, one a model. See the equations of `toymodels.metrics.dictionaries`."""

    decoder: Tensor
    """D, [model, hidden, latent], columns of norm 1"""
    encoder: Tensor
    """E, [model, latent, hidden]"""
    encoder_bias: Tensor
    """c, [model, latent]"""
    decoder_bias: Tensor
    """d, [model, hidden]"""
    scale: Tensor
    """[model]; 1 for activations that are all zero"""
    k: Tensor | None = None
    """[model], int64; None for `L1`"""

    def encode(self, a: Tensor) -> Tensor:
        """f ``[model, latent, batch]`` of activations ``a [model, hidden, batch]``."""
        u = a.float() / self.scale[:, None, None]
        return sparse(torch.baddbmm(self.encoder_bias[:, :, None], self.encoder, u), self.k)

    def decode(self, latents: Tensor) -> Tensor:
        """The reconstruction, ``[model, hidden, batch]``, in the units of the activations."""
        u_hat = torch.baddbmm(self.decoder_bias[:, :, None], self.decoder, latents)
        return u_hat * self.scale[:, None, None]

    def __getitem__(self, models: slice | Tensor | Sequence[int]) -> Dictionary:
        """The dictionaries of some of the models."""
        parts = (self.decoder, self.encoder, self.encoder_bias, self.decoder_bias, self.scale)
        return Dictionary(*(part[models] for part in parts), k=None if self.k is None else self.k[models])


def sparse(f: Tensor, k: Tensor | None) -> Tensor:
    """ReLU of f ``[model, latent, batch]``, in place; with ``k [model]`` only the k largest latents of each example."""
    if k is None:
        return f.relu_()
    keep_largest(f.numpy(), k.numpy())
    return f
