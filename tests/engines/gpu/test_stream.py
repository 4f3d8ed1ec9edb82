"""The stream in Triton: the published vectors, the words of the reference, and x bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toymodels import (
    Anticorrelated,
    Binary,
    Bottleneck,
    Correlated,
    Experiment,
    Exponential,
    Features,
    FoldedNormal,
    Frequency,
    Independent,
    One,
    Together,
    Training,
    Tree,
    UniformValues,
    Zipf,
)
from toymodels.engines.gpu.batch import GpuBatch
from toymodels.engines.gpu.form import Form, form_of
from toymodels.random import Domain, words
from toymodels.training.experiment import sampler

pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
from tests.engines.gpu.filling import fill_words, fill_x, philox

FULL = 0xFFFFFFFF


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([FULL] * 4, [FULL] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_the_vectors_that_were_published_with_it(counter, key, expected):
    """Salmon et al. 2011, kat_vectors of Random123, philox4x32 with 10 rounds."""
    seed = np.array([key[1] << 32 | key[0]], np.uint64).view(np.int64)
    counters, out = np.array(counter, np.uint32).view(np.int32), torch.zeros(4, dtype=torch.int64)
    philox[(1,)](torch.from_numpy(counters), torch.from_numpy(seed), out)
    assert out.tolist() == expected


def form(features: Features, batch: int = 64) -> Form:
    return form_of(Experiment(features, Bottleneck(2), Training(batch=batch)))


@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=2),
    st.integers(1, 9),
    st.integers(0, 2**20),
    st.integers(0, 2**30),
    st.sampled_from(Domain),
)
@settings(max_examples=20)
def test_words_are_those_of_the_reference(seeds, n, first_block, step, domain):
    of = form(Features(n, 0.1))
    out = torch.zeros(len(seeds), n, of.tile, dtype=torch.int64)
    fill_words[(len(seeds),)](torch.tensor(seeds), out, first_block, step, int(domain), form=of)
    expected = words(np.array(seeds), n, of.tile, step, domain, 4 * first_block)
    assert np.array_equal(out.numpy(), expected.astype(np.int64))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("values", [UniformValues(), Binary(), FoldedNormal(), Exponential()], ids=lambda v: v.name)
@pytest.mark.parametrize(
    "firing, density",
    [
        (Independent(), 0.3),
        (Independent(), 1e-9),
        (One(), 1 / 6),
        (Correlated(2), 0.3),
        (Anticorrelated(2), 0.2),
        (Together(((0, 4), (1, 2))), 0.3),
        (Tree(2, 1, 0.8), 0.2),
    ],
)
def test_x_is_that_of_the_reference(values, signed, firing, density):
    """Bit for bit where the law is no function of the maths library, to rounding elsewhere; and what fills up is 0."""
    features = Features(6, density, Frequency(Zipf(0.5)), values=values, signed=signed, firing=firing)
    check_x(features, exact=values in (UniformValues(), Binary()))


@pytest.mark.parametrize("signed", [False, True])
def test_a_feature_that_is_always_active_is_always_drawn(signed):
    """A comparison in float32 would lose some."""
    check_x(Features(6, 1.0, signed=signed), exact=True)


def check_x(features: Features, exact: bool) -> None:
    es = [Experiment(features, Bottleneck(2), Training(steps=9, batch=64), seed=seed) for seed in (3, 2**62 + 5)]
    batch = GpuBatch.of(es, "cpu")
    out = torch.full((2, batch.form.N, 64), torch.nan)
    fill_x[(2,)](*batch.source[:5], out, 7, form=batch.form)
    expected = sampler(es).training(7, 64)
    assert not out[:, 6:].any()
    if exact:
        assert torch.equal(out[:, :6], expected)
    else:
        torch.testing.assert_close(out[:, :6], expected, rtol=2e-6, atol=1e-7)
