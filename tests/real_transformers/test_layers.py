"""A layer as a host computes what TransformerLens computes: at every tap, and with LayerNorm's scale held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from toymodels.bottleneck import Taps
from toymodels.hosts.layer import Layer
from toymodels.surgery import FrozenNorm
from toymodels.transformers.adapter import native, read_by
from toymodels.transformers.language import Language
from toymodels.transformers.layers import of_latents, of_tokens
from toymodels.transformers.training import cross_entropy, train_transformer

LANGUAGE = Language(seed=5)
TEXT = LANGUAGE.text(128, 32).tokens
TAPS = {"pre": "mlp.hook_pre", "mid": "mlp.ln.hook_in", "post": "mlp.hook_post"}


@pytest.fixture(scope="module", params=["solu_ln", "gelu", "gelu_ln", "solu", "relu_ln", "silu"])
def bridge(request: pytest.FixtureRequest) -> Any:
    return train_transformer(LANGUAGE, request.param, seed=5, steps=60, n_layers=2)


def of_text(bridge: Any, layer: int) -> tuple[Layer, Taps]:
    host = of_tokens([bridge], [TEXT], layer).host
    return host, host.taps(read_by(bridge, TEXT, layer).flatten(0, 1).T[None])


@pytest.mark.parametrize("layer", [0, 1])
def test_every_tap_is_the_transformers_own(bridge: Any, layer: int) -> None:
    _, cache = bridge.run_with_cache(torch.from_numpy(TEXT))
    host, taps = of_text(bridge, layer)
    normed = bridge.cfg.act_fn.endswith("_ln")
    for tap, name in TAPS.items():
        if tap == "mid" and not normed:
            assert torch.equal(taps.mid, taps.post)
            continue
        expected = cache[f"blocks.{layer}.{name}"].flatten(0, 1).T
        torch.testing.assert_close(getattr(taps, tap)[0], expected, rtol=1e-5, atol=1e-5)
    if normed:
        expected = cache[f"blocks.{layer}.mlp.ln.hook_scale"].flatten()
        torch.testing.assert_close(1 / host.scale(taps.mid)[1][0, 0], expected, rtol=1e-5, atol=0)


def test_holding_the_scale_by_hooks_is_holding_it_by_hand(bridge: Any) -> None:
    if not bridge.cfg.act_fn.endswith("_ln"):
        assert of_text(bridge, 0)[0].bottleneck.layer_norm is None
        return
    host, taps = of_text(bridge, 0)
    held = float(host.scale(taps.mid)[1].log().mean().exp())
    seen = {}

    def hold(scale: torch.Tensor, hook: Any) -> torch.Tensor:
        return torch.full_like(scale, 1 / held)

    def keep(post: torch.Tensor, hook: Any) -> None:
        seen["post"] = post.detach()

    hooks = [("blocks.0.mlp.ln.hook_scale", hold), ("blocks.0.mlp.hook_post", keep)]
    with torch.no_grad():
        bridge.run_with_hooks(torch.from_numpy(TEXT), fwd_hooks=hooks)
    x = read_by(bridge, TEXT, 0).flatten(0, 1).T[None]
    by_hand = host.taps(x, FrozenNorm(held)).post[0]
    torch.testing.assert_close(by_hand, seen["post"].flatten(0, 1).T, rtol=1e-5, atol=1e-5)
    assert (by_hand - taps.post[0]).abs().max() > 0.01


def test_training_is_its_seeds_and_learns_the_language() -> None:
    one, same, other = (train_transformer(LANGUAGE, "solu_ln", seed=seed, steps=100) for seed in (1, 1, 2))
    text = torch.from_numpy(TEXT)
    with torch.no_grad():
        assert torch.equal(one(text), same(text))
        assert not torch.equal(one(text), other(text))
    frequency = np.bincount(TEXT.ravel(), minlength=50) / TEXT.size
    alone = -(frequency * np.log(np.maximum(frequency, 1e-9))).sum()
    start = native({**_sizes(), "seed": 1})
    assert cross_entropy(one, TEXT) < alone - 0.3
    assert cross_entropy(start, TEXT) > alone


def _sizes() -> dict[str, Any]:
    sizes = {"d_model": 24, "d_head": 8, "n_heads": 3, "n_layers": 1, "n_ctx": 32, "d_vocab": 50, "d_mlp": 64}
    return {**sizes, "act_fn": "solu_ln", "normalization_type": "LN"}


def test_what_was_read_without_a_latent_is_what_would_have_been_read() -> None:
    bridge = train_transformer(LANGUAGE, "gelu", seed=5, steps=20)
    host = of_latents([bridge], [LANGUAGE], sequences=128).host
    apart = 128 * 31 - host.samples
    for latent in (0, 7):
        there = host.data.active[0, latent].nonzero()[:, 0]
        without = read_by(bridge, LANGUAGE.text(128, 32, without=latent).tokens)[:, 1:].flatten(0, 1)[apart:]
        taken = host.taking(host.data.x[:, :, there], torch.full_like(there, latent), there)
        torch.testing.assert_close(taken[0].T, without[there])
        pre = host.without(host.examples(0, host.samples), taken, torch.full_like(there, latent), there)
        torch.testing.assert_close(pre, host.taps(without[there].T[None]).pre)
