"""A dictionary: how latents are made of activations and activations of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from toymodels.metrics.dictionaries.largest import keep_largest_of_examples


@dataclass(frozen=True)
class Dictionary:
    """Dictionaries, one a model. See the equations of `toymodels.metrics.dictionaries`.

    Of one from elsewhere nothing but the decoder need be known. What is left out is 0, and ``scale`` 1; without an
    ``encoder`` there are directions and no latents: `encode` raises ``ValueError``.
    """

    decoder: Tensor
    """D, [model, hidden, latent]; columns of norm 1 where `fit` made them"""
    encoder: Tensor | None = None
    """E, [model, latent, hidden]"""
    encoder_bias: Tensor | None = None
    """c, [model, latent]"""
    decoder_bias: Tensor | None = None
    """d, [model, hidden]"""
    scale: Tensor | None = None
    """[model]; 1 for activations that are all zero"""
    k: Tensor | None = None
    """[model], int64: only so many latents of an example answer; None: all that are above 0 and their threshold"""
    threshold: Tensor | None = None
    """[model, latent], >= 0: a latent answers above it (`BatchTopK`, `JumpReLU`); None: above 0"""

    def encode(self, a: Tensor) -> Tensor:
        """f ``[model, latent, batch]`` of activations ``a [model, hidden, batch]``."""
        if self.encoder is None:
            raise ValueError("this dictionary has no encoder: it has directions (its decoder) and no latents")
        u = a.float() if self.scale is None else a.float() / self.scale[:, None, None]
        if self.encoder_bias is None:
            z = torch.bmm(self.encoder, u)
        else:
            z = torch.baddbmm(self.encoder_bias[:, :, None], self.encoder, u)
        if self.threshold is not None:
            z.masked_fill_(z <= self.threshold[:, :, None], 0)
        return sparse(z, self.k)

    def decode(self, latents: Tensor) -> Tensor:
        """The reconstruction, ``[model, hidden, batch]``, in the units of the activations."""
        if self.decoder_bias is None:
            u_hat = torch.bmm(self.decoder, latents)
        else:
            u_hat = torch.baddbmm(self.decoder_bias[:, :, None], self.decoder, latents)
        return u_hat if self.scale is None else u_hat * self.scale[:, None, None]

    def __repr__(self) -> str:
        models, hidden, latents = self.decoder.shape
        encoder = "with an encoder" if self.encoder is not None else "without an encoder"
        return f"Dictionary: {models} model{'s' * (models > 1)}, {latents} latents, {hidden} hidden, {encoder}"

    def __getitem__(self, models: slice | Tensor | Sequence[int]) -> Dictionary:
        """The dictionaries of some of the models."""
        return self._each(lambda part: part[models])

    def to(self, device: str | torch.device) -> Dictionary:
        """The same dictionaries on a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Dictionary:
        parts = (getattr(self, field.name) for field in fields(self)[1:])
        return Dictionary(change(self.decoder), *(None if part is None else change(part) for part in parts))


def sparse(f: Tensor, k: Tensor | None, most: int | None = None) -> Tensor:
    """ReLU of f ``[model, latent, batch]``, in place; with ``k [model]`` only the k largest latents of each example.
    ``most`` is the largest k, where that is known without asking the device."""
    if k is None:
        return f.relu_()
    keep_largest_of_examples(f, k, most)
    return f
