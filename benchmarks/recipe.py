"""The peer: how researchers train toy models with an instance axis.

Instance-axis einsum, dense uniform draws, an eager AdamW: the recipe of the notebook of Elhage et al. 2022 (*Toy
Models of Superposition*), written here. Data are `[batch, instance, feature]`, of one density.
"""

from __future__ import annotations

import torch
from torch import Tensor


def train(
    n_models: int, n: int, m: int, density: float, batch: int, steps: int, device: str, learning_rate: float = 1e-3
) -> Tensor:
    """Train ``n_models`` tied n -> m -> n models with a ReLU output; returns the last batch loss of each."""
    W = torch.nn.Parameter(torch.randn(n_models, n, m, device=device) / m**0.5)
    b = torch.nn.Parameter(torch.zeros(n_models, n, device=device))
    optimizer = torch.optim.AdamW([W, b], lr=learning_rate, weight_decay=0.0)
    loss = torch.zeros(n_models)
    for _ in range(steps):
        value = torch.rand(batch, n_models, n, device=device)
        x = torch.where(torch.rand(batch, n_models, n, device=device) <= density, value, 0.0)
        hidden = torch.einsum("bif,ifh->bih", x, W)
        out = torch.relu(torch.einsum("bih,ifh->bif", hidden, W) + b)
        loss = (x - out).square().sum(2).mean(0)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return loss.detach()
