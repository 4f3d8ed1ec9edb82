"""A stand-in for a TransformerLens bridge where TransformerLens is not installed: what is asked of one, and no more.

It reads tokens and means over the tokens so far, and has the parts of a bridge that `toymodels.transformers.adapter`
names; real ones are measured in `tests/transformers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from toymodels.transformers.adapter import ACTIVATIONS, NORMED

DEFAULTS = {
    "eps": 1e-5,
    "normalization_type": "LN",
    "positional_embedding_type": "standard",
    "attn_only": False,
    "gated_mlp": False,
    "final_rms": False,
}


class StandIn(nn.Module):
    """One block, of the settings of a TransformerLens configuration."""

    def __init__(self, config: Mapping[str, Any]):
        super().__init__()
        self.cfg = SimpleNamespace(**{**DEFAULTS, "seed": None, **config})
        cfg = self.cfg
        self.embed = nn.Embedding(cfg.d_vocab, cfg.d_model)
        self.ln2 = nn.LayerNorm(cfg.d_model)
        mlp = nn.Module()
        mlp.add_module("in", nn.Linear(cfg.d_model, cfg.d_mlp))
        if cfg.act_fn.endswith(NORMED):
            mlp.add_module("ln", nn.LayerNorm(cfg.d_mlp, eps=cfg.eps))
        mlp.add_module("out", nn.Linear(cfg.d_mlp, cfg.d_model))
        block, attention = nn.Module(), nn.Module()
        block.add_module("mlp", mlp)
        for each in "qkvo":  # there, as in any transformer, and never used
            attention.add_module(each, nn.Linear(cfg.d_model, cfg.n_heads * cfg.d_head))
        block.add_module("attn", attention)
        self.blocks = nn.ModuleList([block])
        self.unembed = nn.Linear(cfg.d_model, cfg.d_vocab)
        self.pos_embed = nn.Embedding(cfg.n_ctx, cfg.d_model)
        noise = torch.Generator().manual_seed(cfg.seed or 0)
        for each in self.parameters():
            each.data = torch.randn(each.shape, generator=noise) / each.shape[-1] ** 0.5

    @property
    def original_model(self) -> StandIn:
        return self

    def read(self, tokens: Tensor) -> Tensor:
        each = self.embed(tokens)
        so_far = each.cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[None, :, None]
        return self.ln2(each + so_far)

    def forward(self, tokens: Tensor) -> Tensor:
        x, mlp = self.read(tokens), self.blocks[0].get_submodule("mlp")
        mid: Tensor = ACTIVATIONS[self.cfg.act_fn.removesuffix(NORMED)](mlp.get_submodule("in")(x), dim=-1)
        if self.cfg.act_fn.endswith(NORMED):
            mid = mlp.get_submodule("ln")(mid)
        return self.unembed(x + mlp.get_submodule("out")(mid))

    def run_with_cache(self, tokens: Tensor, names_filter: str, return_cache_object: bool) -> tuple[None, Any]:
        assert names_filter == "blocks.0.mlp.hook_in"
        assert not return_cache_object
        return None, {names_filter: self.read(tokens)}
