"""What layers of transformers show of a text, from stand-ins for transformers: which sample is which, what is taken
away, and what is refused. Real ones are in `tests/transformers`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.transformers.stand_in import StandIn
from toymodels import GeLU, SoLU
from toymodels.bottleneck import hidden
from toymodels.hosts.taking import Counterfactual, Means, Projection
from toymodels.transformers import training
from toymodels.transformers.adapter import NotALayer, architecture_of, parameters_of, read_by
from toymodels.transformers.language import Language
from toymodels.transformers.layers import of_bigrams, of_directions, of_latents, of_tokens

CONFIG = {"d_model": 6, "d_head": 3, "n_heads": 2, "n_layers": 1, "n_ctx": 32, "d_vocab": 12, "d_mlp": 8}
LANGUAGES = [Language(seed=seed, tokens=12, latents=3, topic=3, density=0.15, run=6) for seed in range(2)]
SEQUENCES = 64
TEXTS = [language.text(SEQUENCES, 32).tokens for language in LANGUAGES]


def bridges(act_fn: str = "solu_ln") -> list[StandIn]:
    return [StandIn({**CONFIG, "act_fn": act_fn, "seed": seed}) for seed in range(2)]


def test_a_layer_is_a_bottleneck_of_its_settings():
    solu, gelu = (architecture_of(bridges(name)[0]) for name in ("solu_ln", "gelu"))
    assert isinstance(solu.activation, SoLU)
    assert isinstance(gelu.activation, GeLU)
    assert solu.layer_norm is not None
    assert gelu.layer_norm is None
    assert parameters_of(bridges("gelu")).ln_eps is None
    for change, why in (
        ({"act_fn": "gelu_new"}, "act_fn: expected gelu or gelu_ln, .* got 'gelu_new'"),
        ({"gated_mlp": True}, "expected MLP layers without gates, got gated ones"),
        ({"attn_only": True}, "of attention alone"),
    ):
        bridge = bridges()[0]
        vars(bridge.cfg).update(change)
        with pytest.raises(NotALayer, match=why):
            architecture_of(bridge)
    with pytest.raises(NotALayer, match="layer: expected one from 0 to 0, got 1"):
        parameters_of(bridges(), 1)


@pytest.mark.parametrize("act_fn", ["solu_ln", "gelu"])
def test_a_layer_computes_what_the_transformer_does(act_fn: str):
    bridge = bridges(act_fn)[0]
    x = read_by(bridge, TEXTS[0])
    post = hidden(architecture_of(bridge), parameters_of([bridge]), x.flatten(0, 1).T[None]).post[0]
    with torch.no_grad():
        expected = bridge.unembed(x + bridge.blocks[0].get_submodule("mlp.out")(post.T.unflatten(0, x.shape[:2])))
        torch.testing.assert_close(expected, bridge(torch.from_numpy(TEXTS[0])), rtol=1e-4, atol=1e-5)


def test_samples_are_positions_from_the_second_on_and_a_third_is_set_apart():
    found = of_tokens(bridges(), TEXTS)
    samples = SEQUENCES * 31
    apart = samples // 3 // 64 * 64
    assert found.host.samples == samples - apart
    x = read_by(bridges()[1], TEXTS[1])[:, 1:].flatten(0, 1)
    assert torch.equal(found.host.data.x[1], x[apart:].T)
    tokens = TEXTS[1][:, 1:].ravel()[apart:]
    called = [f"token {v}" for v in tokens]
    each = found.host.data.active[1].long().argmax(0)
    assert [found.names[1][i] for i in each] == called
    pairs = of_bigrams(bridges(), TEXTS, most=5).host.data.active
    assert pairs.shape[1] == 5
    assert (pairs.sum(1) <= 1).all()


def test_what_goes_with_a_feature_is_learned_from_the_samples_set_apart():
    of, apart = bridges(), SEQUENCES * 31 // 3 // 64 * 64
    x = read_by(of[1], TEXTS[1])[:, 1:].flatten(0, 1)[:apart]
    found = of_tokens(of, TEXTS)
    means = found.host.taking
    assert isinstance(means, Means)
    for i, name in enumerate(found.names[1][:4]):
        there = torch.from_numpy(TEXTS[1][:, 1:].ravel()[:apart] == int(name.removeprefix("token ")))
        torch.testing.assert_close(
            means.difference[1, :, i], x[there].mean(0) - x[~there].mean(0), rtol=1e-4, atol=1e-5
        )
    projection = of_directions(of, TEXTS, torch.eye(6)).host.taking
    assert isinstance(projection, Projection)
    torch.testing.assert_close(projection.mean[1], x.mean(0), rtol=1e-4, atol=1e-5)


def test_the_cross_entropy_is_the_same_however_many_logits_are_held(monkeypatch: pytest.MonkeyPatch):
    bridge = bridges("gelu")[0]
    whole = training.cross_entropy(bridge, TEXTS[0])
    monkeypatch.setattr(training, "LOGITS_AT_ONCE", 5 * 32 * 12)
    assert training.cross_entropy(bridge, TEXTS[0]) == pytest.approx(whole, rel=1e-5)


def test_a_latent_is_taken_away_by_the_text_that_had_been_without_it():
    of = bridges()
    host = of_latents(of, LANGUAGES, sequences=SEQUENCES).host
    assert isinstance(host.taking, Counterfactual)
    apart = SEQUENCES * 31 - host.samples
    for model in range(2):
        text = LANGUAGES[model].text(SEQUENCES, 32)
        assert np.array_equal(host.data.active[model].numpy(), text.latents[:, :, 1:].reshape(3, -1)[:, apart:])
        for latent in range(3):
            without = read_by(of[model], LANGUAGES[model].text(SEQUENCES, 32, without=latent).tokens)
            expected = without[:, 1:].flatten(0, 1)[apart:].T
            there = host.data.active[model, latent].nonzero()[:, 0]
            assert len(there) > 20
            taken = host[model : model + 1].taking(host.data.x[model : model + 1, :, there], 0 * there + latent, there)
            torch.testing.assert_close(taken[0], expected[:, there])


def test_a_pseudo_feature_is_where_the_layer_reads_much_of_a_direction():
    directions = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    host = of_directions(bridges(), TEXTS, directions, share=0.1).host
    assert host.data.active.double().mean((0, 2)).tolist() == pytest.approx([0.1] * 4, abs=0.02)
    along = directions @ host.data.x[0]
    for i in range(4):
        there = host.data.active[0, i]
        assert along[i][there].min() >= along[i][~there].max()
    scaled = of_directions(bridges(), TEXTS, 5 * directions, share=0.1).host
    assert torch.equal(scaled.data.active, host.data.active)
