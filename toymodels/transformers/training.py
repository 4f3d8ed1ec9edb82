"""Small transformers trained on a synthetic language, by TransformerLens and PyTorch, with nothing downloaded.

    loss = - mean log P(token at position + 1 | tokens up to position),  minimised by Adam, its rate falling as a cosine

A model sees ``batch`` sequences a step, drawn at random among the first `SEQUENCES` of its language's training text, in
the order of the model's own seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toymodels.surroundings import undisturbed
from toymodels.transformers.adapter import native
from toymodels.transformers.language import Language

SEQUENCES = 8192
LENGTH = 32
"""positions of a sequence, in training and after"""
LOGITS_AT_ONCE = 2**24
"""64 MB of them"""


@undisturbed
def train_transformer(
    language: Language,
    act_fn: str,
    *,
    seed: int = 0,
    d_model: int = 24,
    d_mlp: int = 64,
    n_layers: int = 1,
    steps: int = 1000,
    batch: int = 64,
    learning_rate: float = 1e-2,
    **config: Any,
) -> Any:
    """A TransformerLens bridge of so many layers, its MLPs of ``act_fn`` (`toymodels.transformers.adapter`), trained.

    ``seed`` is of the start and of the order of sequences; ``config`` are further settings of TransformerLens. Needs
    TransformerLens.
    """
    heads = {"n_heads": d_model // 8, "d_head": 8}
    sizes = {"d_model": d_model, "d_mlp": d_mlp, "n_layers": n_layers, "n_ctx": LENGTH, "d_vocab": language.tokens}
    bridge = native({**heads, **sizes, "normalization_type": "LN", "act_fn": act_fn, "seed": seed, **config})
    model, optimizer = bridge.original_model, torch.optim.Adam(bridge.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    text = torch.from_numpy(language.text(SEQUENCES, LENGTH, evaluation=False).tokens)
    order = np.random.default_rng(seed).integers(0, SEQUENCES, (steps, batch))
    for chosen in order:
        loss = _loss(model, text[torch.from_numpy(chosen)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return bridge


@undisturbed
def cross_entropy(bridge: Any, tokens: np.ndarray) -> float:
    """The mean of - log P of the next token over ``tokens`` [sequence, position], in nats."""
    model, total = bridge.original_model, 0.0
    size = max(1, LOGITS_AT_ONCE // (tokens.shape[1] * bridge.cfg.d_vocab))
    with torch.no_grad():
        for part in torch.from_numpy(tokens).split(size):
            total += len(part) * float(_loss(model, part))
    return total / len(tokens)


def _loss(model: Any, tokens: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
