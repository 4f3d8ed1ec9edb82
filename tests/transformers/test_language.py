"""A synthetic language: its law, its latents, and the same text without one of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from toymodels.transformers.language import Language

SMALL = Language(seed=4, tokens=8, latents=3, topic=2, strength=3.0, density=0.2, run=4.0)


def test_a_language_is_its_seed_and_a_stretch_of_it_is_the_same_in_any_text():
    text, again, longer = SMALL.text(40, 12), dataclasses.replace(SMALL).text(40, 12), SMALL.text(64, 12)
    assert np.array_equal(text.tokens, again.tokens)
    assert np.array_equal(text.tokens, longer.tokens[:40])
    assert np.array_equal(text.latents, longer.latents[:, :40])
    other = SMALL.text(40, 12, evaluation=False)
    assert not np.array_equal(text.tokens, other.tokens)
    assert text.tokens.shape == (40, 12)
    assert text.latents.shape == (3, 40, 12)


def test_latents_are_on_as_often_and_for_as_long_as_is_said():
    on = SMALL.text(4096, 24).latents
    assert on.mean((1, 2)) == pytest.approx(0.2, abs=0.015)
    assert on[:, :, -1].mean() == pytest.approx(on[:, :, 0].mean(), abs=0.015)  # the chain begins where it stays
    ends = (on[:, :, :-1] & ~on[:, :, 1:]).sum() / on[:, :, :-1].sum()
    assert 1 / ends == pytest.approx(4.0, rel=0.05)
    assert np.corrcoef(on.reshape(3, -1))[0, 1] == pytest.approx(0, abs=0.02)


def test_tokens_follow_the_law_given_the_token_before_and_the_latents():
    text = SMALL.text(2**15, 6)
    before, after, on = text.tokens[:, :-1].ravel(), text.tokens[:, 1:].ravel(), text.latents[:, :, 1:].reshape(3, -1)
    token = int(np.bincount(before).argmax())
    for latents in ((False, False, False), (True, False, False), (True, True, False)):
        there = (before == token) & (on == np.array(latents)[:, None]).all(0)
        logits = SMALL.transitions[token] + np.array(latents) @ SMALL.topics
        expected = np.exp(logits) / np.exp(logits).sum()
        counted = np.bincount(after[there], minlength=8) / there.sum()
        assert there.sum() > 500
        assert np.abs(counted - expected).max() < 4 * np.sqrt(0.25 / there.sum())


def test_without_a_latent_only_what_followed_from_it_is_other():
    text, latent = SMALL.text(512, 16), 1
    without = SMALL.text(512, 16, without=latent)
    assert not without.latents[latent].any()
    others = [i for i in range(3) if i != latent]
    assert np.array_equal(without.latents[others], text.latents[others])
    before = ~np.maximum.accumulate(text.latents[latent], 1)
    assert np.array_equal(text.tokens[before], without.tokens[before])
    on = text.latents[latent]
    assert (text.tokens != without.tokens)[on].mean() > 0.4
    topic = SMALL.topics[latent] > 0
    assert topic[without.tokens[on]].mean() < 0.6 * topic[text.tokens[on]].mean()


def test_a_language_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="topic: expected at most"):
        Language(tokens=4, topic=5)
    with pytest.raises(ValueError, match=r"density: expected at most 0\.5 with runs of 1 positions"):
        Language(density=0.6, run=1.0)
