"""The stream: Random123's published vectors, two versions that agree word for word, addresses that never move."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from tests.conftest import word
from toymodels import random
from toymodels.kernels.draw import philox
from toymodels.kernels.vector import LANES, bits, pointer, store
from toymodels.random import Domain

# Random123's published known-answer file, philox4x32 with 10 rounds: counter, key, words.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_torch_philox_gives_the_published_words(counter, key, expected):
    assert tuple(int(word) for word in random.philox(counter, random.round_keys(*key))) == expected


@numba.njit
def first_of_a_tile(feature, block, step, domain, seed, out):
    store(pointer(out), 0, bits(philox(feature, block, step, domain, seed)))


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_numba_philox_gives_the_published_words(counter, key, expected):
    out = np.zeros(LANES, np.float32)
    feature, block, step, domain = (np.uint64(value) for value in counter)
    first_of_a_tile(feature, block, step, domain, np.uint64(key[0] | key[1] << 32), out)
    assert tuple(int(word) for word in out.view(np.uint32)[:: LANES // 4]) == expected


@pytest.mark.parametrize("counter, key, expected", KNOWN_ANSWERS)
def test_the_oracle_gives_the_published_words(counter, key, expected):
    feature, block, step, domain = counter
    seed = key[0] | key[1] << 32
    assert tuple(word(seed, feature, 4 * block + place, step, domain) for place in range(4)) == expected


def test_word_is_philox_at_its_address():
    seed, feature, sample, step = 2**40 + 7, 3, 9, 11
    expected = random.philox(
        (feature, sample >> 2, step, Domain.EVALUATION), random.round_keys(seed % 2**32, seed >> 32)
    )[sample & 3]
    words = random.words(np.array([seed]), 5, 12, step, Domain.EVALUATION)
    assert words[0, feature, sample] == int(expected) == word(seed, feature, sample, step, Domain.EVALUATION)


@given(
    seeds=st.lists(st.integers(0, random.MAX_SEED), min_size=1, max_size=3),
    n_features=st.integers(1, 7),
    n_samples=st.integers(1, 23),
    step=st.integers(0, 2**32 - 1),
    domain=st.sampled_from(Domain),
    first_block=st.integers(0, 2**31),
)
def test_numba_and_torch_agree_word_for_word(seeds, n_features, n_samples, step, domain, first_block):
    where = (n_features, n_samples, step, domain, 4 * first_block)
    numba = random.words(np.array(seeds), *where)
    torch_words = random.words_torch(random.seed_keys(torch.tensor(seeds)), *where)
    assert np.array_equal(numba, torch_words.numpy())


def test_words_do_not_depend_on_what_else_is_drawn():
    seeds = np.array([4, 5, 6])
    together = random.words(seeds, 6, 40, 2, Domain.DATA)
    assert np.array_equal(random.words(seeds[1:2], 3, 40, 2, Domain.DATA)[0], together[1, :3])
    assert np.array_equal(random.words(seeds, 6, 9, 2, Domain.DATA, first_sample=16), together[:, :, 16:25])


def test_words_are_uniform():
    words = random.words(np.arange(4), 8, 40_000, 0, Domain.DATA).ravel()
    counts = np.bincount(words >> 24, minlength=256)
    assert chisquare(counts).pvalue > 1e-4
    assert kstest(random.uniforms(np.arange(4), 8, 10_000, 1, Domain.SHUFFLE).ravel(), "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    "where", [(3, 4, 0, Domain.DATA, 2), (3, 4, 2**32, Domain.DATA, 0), (3, 4, -1, Domain.DATA, 0)]
)
def test_addresses_outside_the_counter_are_refused(where):
    with pytest.raises(ValueError, match="expected"):
        random.words(np.array([0]), *where)
