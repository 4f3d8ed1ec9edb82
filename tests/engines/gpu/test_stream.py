"""x as the kernels of the gpu engine draw it: bit for bit that of the reference."""

from __future__ import annotations

import pytest
import torch

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
from toymodels.training.experiment import sampler

pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
from tests.engines.gpu.filling import fill_x


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
