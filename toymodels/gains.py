"""Gains: what multiplies a hidden layer's activations, beside what they make of their own pre-activations.

    mid = act(z) g,    g = W_gate u + b_gate                    of a gated layer
                       g_k = p_e if k is of expert e, else 0    of a routed one,   p = softmax(W_router u), e its argmax

u is what neurons read, x or E x, and z their pre-activations. With a linear activation a gated layer is bilinear
(Dauphin et al. 2017; Shazeer 2020, *GLU variants improve transformer*; Pearce et al. 2024, *Bilinear MLPs enable
weight-based mechanistic interpretability*). In a routed layer the m neurons are equal blocks in order, the experts, of
which one works on an example; its probability multiplies it, so that the router is taught by what its choice costs
(top-1 of Shazeer et al. 2017, *Outrageously large neural networks*; Fedus, Zoph, Shazeer 2021, *Switch Transformers*).
"""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(W_router: Tensor, inputs: Tensor) -> Tensor:
    """p = softmax(W_router u) over experts: [model, expert, batch] of u [model, input, batch]."""
    return torch.softmax(W_router @ inputs, dim=1)


def route(p: Tensor, hidden: int) -> Tensor:
    """g of a routed layer, [model, hidden, batch] of p [model, expert, batch]: of equal ones the first is chosen."""
    largest, chosen = p.max(dim=1, keepdim=True)
    gain = torch.zeros_like(p).scatter(1, chosen, largest)
    return gain.repeat_interleave(hidden // p.shape[1], dim=1)


def load(p: Tensor) -> Tensor:
    """The share of examples that each expert works on, [model, expert] of p [model, expert, batch].

    Of all examples: on an empty one, u = 0, all p are equal and the first expert works. So where examples are often
    empty an even load is not even over the others, which are what `toymodels.metrics.routing` measures.
    """
    return torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0).mean(2)


def imbalance(p: Tensor) -> Tensor:
    """experts sum_e f_e P_e, [model] of p [model, expert, batch]: f the `load`, P the mean probability.

    1 where both are even, ``experts`` where one expert has all; what training adds to the loss so that none starves
    (Fedus, Zoph, Shazeer 2021). The gradient is that of P: f moves by jumps.
    """
    return p.shape[1] * (load(p) * p.mean(2)).sum(1)


def product(*gains: Tensor | None) -> Tensor | None:
    """The product of the gains that there are; None where there is none."""
    there = [gain for gain in gains if gain is not None]
    if not there:
        return None
    return there[0] if len(there) == 1 else there[0] * there[1]
