"""The stream in Triton: the published vectors, the words of the reference, and x bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toymodels import Correlated, Features, FoldedNormal, Sampler
from toymodels.random import Domain, words

pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
from tests.kernels.on_gpu.filling import fill_words, philox
from tests.test_features import FIRING, VALUES, features
from toymodels.kernels.on_gpu import fill
from toymodels.kernels.on_gpu.fill import block_of

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


@given(
    st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=2),
    st.integers(1, 9),
    st.integers(0, 2**20),
    st.integers(0, 2**30),
    st.sampled_from(Domain),
)
@settings(max_examples=20)
def test_words_are_those_of_the_reference(seeds, n, first_block, step, domain):
    of = block_of(n, grouped=False, binary=False, signed=False)._replace(rows=16, tile=64)
    out = torch.zeros(len(seeds), n, of.tile, dtype=torch.int64)
    fill_words[(len(seeds),)](torch.tensor(seeds), out, first_block, step, int(domain), block=of)
    expected = words(np.array(seeds), n, of.tile, step, domain, 4 * first_block)
    assert np.array_equal(out.numpy(), expected.astype(np.int64))


@given(
    st.sampled_from(VALUES),
    st.booleans(),
    st.sampled_from(FIRING),
    st.sampled_from([1e-9, 0.05, 0.2]),
    st.integers(0, 2**62),
    st.integers(1, 70),
    st.integers(0, 2**20),
)
@settings(max_examples=20)
def test_x_is_that_of_a_cpu_and_of_torch(values, signed, firing, density, seed, samples, block):
    spec = features(values, signed, firing, density=density)
    sampler = Sampler([spec, spec], [seed, seed + 1])
    where = (3, samples, 4 * block, Domain.EVALUATION, Domain.EVALUATION_FIRING)
    drawn = sampler._elsewhere.by_kernel(*where)
    assert torch.equal(drawn, sampler._on_cpu(*where))
    assert torch.equal(drawn, sampler._elsewhere.in_torch(*where))


@pytest.mark.parametrize("firing", [None, Correlated(20)])
def test_more_features_and_samples_than_a_program_has_are_several_programs(firing):
    spec = Features(40, 0.3) if firing is None else Features(40, 0.3, firing=firing)
    sampler = Sampler([spec] * 3, [1, 2, 2**62 + 5])
    where = (2**31 + 7, fill.TILE + 30, 0, Domain.DATA, Domain.FIRING)
    assert torch.equal(sampler._elsewhere.by_kernel(*where), sampler._on_cpu(*where))


def test_a_feature_that_is_always_active_is_always_drawn():
    """A comparison in float32 would lose some."""
    sampler = Sampler([Features(5, 1.0)], [0])
    where = (0, 400, 0, Domain.DATA, Domain.FIRING)
    x = sampler._elsewhere.by_kernel(*where)
    assert torch.equal(x, sampler._on_cpu(*where))


def test_a_step_that_is_a_tensor_is_drawn_like_one_that_is_a_number():
    sampler = Sampler([Features(5, 0.4, values=FoldedNormal())], [3])
    rest = 64, 0, Domain.DATA, Domain.FIRING
    now = sampler._elsewhere.by_kernel(torch.tensor(5), *rest)
    assert torch.equal(now, sampler._elsewhere.by_kernel(5, *rest))


def test_what_a_counter_cannot_say_is_refused():
    drawing = Sampler([Features(5, 0.4)], [3])._elsewhere
    with pytest.raises(ValueError, match="multiple of 4, got 2"):
        drawing.by_kernel(0, 64, 2, Domain.DATA, Domain.FIRING)


def test_without_a_gpu_torch_draws_and_with_one_and_triton_the_kernel(monkeypatch):
    from toymodels import drawing

    assert drawing.Drawing(Sampler([Features(5, 0.4)], [3]).source, torch.device("meta")).has_kernel is False
    monkeypatch.setattr(drawing, "lacking", lambda device: None)
    there = drawing.Drawing(Sampler([Features(5, 0.4)], [3]).source, torch.device("cpu"))
    assert there.has_kernel
    monkeypatch.setattr(there, "in_torch", lambda *where: pytest.fail("not by the kernel"))
    assert there.draw(0, 64, 0, Domain.DATA, Domain.FIRING).shape == (1, 5, 64)
