"""MLP layers of transformers as hosts: TransformerLens computes what they read, this package all that follows.

    x = hook_in of the block's MLP (the residual stream after ln2)       z = W_in x + b_in    hook_pre
    mid = act(z)      in TransformerLens 4 ``mlp.ln.hook_in`` of a layer with a LayerNorm (in 3 ``hook_mid``)
    post = LN(mid)    ``mlp.hook_post``, with the scale's inverse at ``mlp.ln.hook_scale``; or act(z), without LayerNorm

A transformer is a TransformerLens bridge (`native` makes a small one, or an empty one to load weights into); nothing
here imports TransformerLens but that function. ``act_fn`` "solu_ln" is the layer of Elhage et al. 2022, *Softmax Linear
Units*; "gelu_ln" its LN-only control, which TransformerLens does not have, and which `native` makes of it by putting
GeLU in SoLU's place; and so for "relu_ln" and "silu_ln".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toymodels.activations import Activation, GeLU, Linear, ReLU, SiLU, SoLU
from toymodels.bottleneck import Bottleneck
from toymodels.layer_norm import LayerNorm
from toymodels.parameters import Parameters
from toymodels.roles import by_name
from toymodels.surroundings import undisturbed

ACTIVATIONS: dict[str, Activation] = by_name(GeLU(), ReLU(), SiLU(), SoLU())
NORMED = "_ln"
"""what ``act_fn`` ends in where a LayerNorm follows the activation"""
SEQUENCES_AT_ONCE = 256


class NotALayer(ValueError):
    """A transformer whose MLP layers are no bottlenecks, or are not there."""


def native(config: Mapping[str, Any]) -> Any:
    """A bridge of this TransformerLens configuration, with weights as its ``init_mode`` and ``seed`` draw them.

    Raises `NotALayer` for an ``act_fn`` that is not of `ACTIVATIONS`, and ``ModuleNotFoundError`` without
    TransformerLens.
    """
    from transformer_lens.config import TransformerBridgeConfig  # pyright: ignore[reportMissingImports]
    from transformer_lens.model_bridge import TransformerBridge  # pyright: ignore[reportMissingImports]

    name = str(config.get("act_fn", ""))
    activation, normed = _activation(name)
    built = "solu_ln" if normed else name
    bridge = TransformerBridge.boot_native(TransformerBridgeConfig.from_dict({**config, "act_fn": built}))
    if built != name:
        for block in bridge.blocks:
            block.mlp.original_component.act = activation
        bridge.cfg.act_fn = name
    return bridge


def architecture_of(bridge: Any) -> Bottleneck:
    """What its MLP layers do to what they read. Raises `NotALayer` where they are gated, or there is none."""
    cfg = bridge.cfg
    if cfg.attn_only or cfg.gated_mlp:
        got = "a transformer of attention alone" if cfg.attn_only else "gated ones"
        raise NotALayer(f"expected MLP layers without gates, got {got}")
    activation, normed = _activation(cfg.act_fn)
    return Bottleneck(
        cfg.d_mlp,
        activation,
        LayerNorm(eps=cfg.eps) if normed else None,
        output=Linear(),
        tied=False,
        hidden_bias=True,
    )


def parameters_of(bridges: Sequence[Any], layer: int = 0) -> Parameters:
    """The parameters of one MLP layer of each bridge, without a read-out. Raises `NotALayer` for a layer not there."""
    mlps = [_mlp(bridge, layer) for bridge in bridges]

    def each(part: str, name: str) -> Tensor:
        return torch.stack([getattr(getattr(mlp, part), name).detach().float() for mlp in mlps])

    W_in, b_in = each("in", "weight"), each("in", "bias")
    if architecture_of(bridges[0]).layer_norm is None:
        return Parameters(W_in=W_in, b_in=b_in)
    eps = torch.tensor([bridge.cfg.eps for bridge in bridges], dtype=torch.float64)
    return Parameters(W_in=W_in, b_in=b_in, ln_gain=each("ln", "weight"), ln_bias=each("ln", "bias"), ln_eps=eps)


@undisturbed
def read_by(bridge: Any, tokens: np.ndarray, layer: int = 0) -> Tensor:
    """What one MLP layer reads of ``tokens`` [sequence, position]: float32 [sequence, position, input]."""
    _mlp(bridge, layer)
    name = f"blocks.{layer}.mlp.hook_in"
    found = []
    with torch.no_grad():
        for part in torch.from_numpy(tokens).split(SEQUENCES_AT_ONCE):
            _, cache = bridge.run_with_cache(part, names_filter=name, return_cache_object=False)
            found.append(cache[name].float())
    return torch.cat(found)


def _mlp(bridge: Any, layer: int) -> Any:
    if not 0 <= layer < bridge.cfg.n_layers:
        raise NotALayer(f"layer: expected one from 0 to {bridge.cfg.n_layers - 1}, got {layer}")
    return bridge.blocks[layer].mlp


def _activation(name: str) -> tuple[Activation, bool]:
    plain = name.removesuffix(NORMED)
    if plain not in ACTIVATIONS:
        choices = ", ".join(f"{each} or {each}{NORMED}" for each in ACTIVATIONS)
        raise NotALayer(f"act_fn: expected {choices}, got '{name}'")
    return ACTIVATIONS[plain], plain != name
