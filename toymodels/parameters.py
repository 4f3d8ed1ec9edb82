"""Parameters: the numbers of a batch of models of one architecture, each with the leading ``model`` axis."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from toymodels.bottleneck import Bottleneck

TURNED = ("W_in", "b_in", "W_gate", "b_gate")
"""what makes neurons of what is read: the parameters that a rotation of the hidden basis turns"""
READING = ("W_in", "W_gate", "W_router")
"""those with an axis of inputs"""


@dataclass(frozen=True)
class Parameters:
    """The numbers of a batch of models; what an architecture does not have is None."""

    W_in: Tensor
    """[model, hidden, feature]; [model, hidden, embedding] of a decoder"""
    W_out: Tensor | None = None
    """[model, target, hidden]; None when tied, for then it is W_in^T"""
    b_in: Tensor | None = None
    """[model, hidden]"""
    b_out: Tensor | None = None
    """[model, target]"""
    ln_gain: Tensor | None = None
    """[model, hidden]"""
    ln_bias: Tensor | None = None
    """[model, hidden]"""
    ln_eps: Tensor | None = None
    """[model], float64; a setting, not trained"""
    E: Tensor | None = None
    """[model, embedding, feature], the embedding of a decoder"""
    W_gate: Tensor | None = None
    """of the axes of W_in"""
    b_gate: Tensor | None = None
    """[model, hidden]"""
    W_router: Tensor | None = None
    """[model, expert, feature]; [model, expert, embedding] of a decoder"""

    @property
    def decoder(self) -> Tensor:
        """W_out, or W_in^T when tied: [model, target, hidden]."""
        return self.W_in.transpose(1, 2) if self.W_out is None else self.W_out

    def trained(self, bottleneck: Bottleneck) -> dict[str, Tensor]:
        """The tensors that training moves in this architecture, by name."""
        present = self.present()
        return {name: present[name] for name in bottleneck.axes}

    def present(self) -> dict[str, Tensor]:
        """The tensors this architecture has, by name."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: tensor for name, tensor in named if tensor is not None}

    def __getitem__(self, models: slice | Tensor | Sequence[int]) -> Parameters:
        """The parameters of some of the models."""
        return Parameters(**{name: tensor[models] for name, tensor in self.present().items()})

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Parameters:
        """On another device or in another precision (``ln_eps`` stays float64)."""
        kept = {"ln_eps": torch.float64}
        return Parameters(**{name: each.to(device, kept.get(name, dtype)) for name, each in self.present().items()})


def turned(parameters: Parameters, Q: Tensor) -> Parameters:
    """The parameters with all that each neuron reads turned by Q [hidden, hidden] or [model, hidden, hidden]."""
    named = {name: each for name, each in parameters.present().items() if name in TURNED}
    changed = {name: Q @ each if each.dim() == 3 else (Q @ each[:, :, None])[:, :, 0] for name, each in named.items()}
    return dataclasses.replace(parameters, **changed)


def folded(parameters: Parameters) -> Parameters:
    """The same function of x with what neurons and router read of features in place of the embedding: W_in E for W_in.

    An embedding has no tied read-out, so the read-out stays as it is.
    """
    if parameters.E is None:
        return parameters
    read = {name: each @ parameters.E for name, each in parameters.present().items() if name in READING}
    return dataclasses.replace(parameters, **read, E=None)
