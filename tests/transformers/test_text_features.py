"""Features of text, against counting by hand."""

from __future__ import annotations

import numpy as np

from toymodels.transformers.language import Language
from toymodels.transformers.text_features import above, bigram_features, latent_features, token_features

TOKENS = np.array([[3, 1, 3, 1], [1, 3, 1, 2], [2, 2, 1, 3]])


def test_tokens_are_the_most_frequent_ones_in_their_order():
    found = token_features(TOKENS, 2)
    assert found.names == ("token 1", "token 3")
    assert np.array_equal(found.active, np.stack([TOKENS == 1, TOKENS == 3]))
    every = token_features(TOKENS, 99)
    assert every.names == ("token 1", "token 2", "token 3")
    assert (every.active.sum(0) == 1).all()


def test_a_bigram_is_at_its_second_token_and_never_across_sequences():
    found = bigram_features(TOKENS, 2)
    assert found.names == ("bigram 1 3", "bigram 3 1")
    by_hand = np.zeros((2, 3, 4), dtype=bool)
    by_hand[0, [0, 1, 2], [2, 1, 3]] = True
    by_hand[1, [0, 0, 1], [1, 3, 2]] = True
    assert np.array_equal(found.active, by_hand)
    assert not bigram_features(TOKENS, 99).active[:, :, 0].any()


def test_latents_are_those_of_the_text():
    text = Language(tokens=8, latents=3, topic=2).text(5, 6)
    found = latent_features(text)
    assert found.names == ("latent 0", "latent 1", "latent 2")
    assert np.array_equal(found.active, text.latents)


def test_a_pseudo_feature_is_active_in_the_share_that_is_asked_for():
    projections = np.random.default_rng(0).normal(size=(3, 1000))
    active = above(projections, 0.05)
    assert active.sum(1).tolist() == [50, 50, 50]
    assert projections[active].min() > np.sort(projections, axis=1)[:, -51].min()
    assert np.array_equal(above(7 * projections, 0.05), active)
