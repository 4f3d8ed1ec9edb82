"""The stream of activations: which samples they are of, and that a position's is always the same."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.conftest import word
from tests.hosts.test_module import ARCHITECTURES, one_model
from toymodels.hosts.hosted import HostedModel
from toymodels.hosts.models import Models
from toymodels.hosts.streaming import BEGINS, BLOCK, LENGTH
from toymodels.metrics.evaluation import MAX_SAMPLES
from toymodels.training.experiment import sampler

N = 8
FEATURES = tm.Features(n=N, density=0.2)


def host(name: str = "affine norm", tap: str = "post", **given: Any) -> HostedModel:
    bottleneck = ARCHITECTURES[name]
    e = tm.Experiment(given.pop("features", FEATURES), bottleneck, seed=7, **given)
    return HostedModel(Models([e], one_model(bottleneck)), tap)


def first(stream: Any, batches: int) -> torch.Tensor:
    return torch.cat(list(islice(stream, batches)))


def test_a_position_has_one_activation_whatever_the_batch_and_the_start() -> None:
    hosted = host()
    rows = first(hosted.activations(BLOCK + 452), 3)
    assert rows.dtype == torch.float32
    assert rows.shape == (3 * (BLOCK + 452), 6)
    for batch in (1, 7, 1000):
        for start in (0, 1, BLOCK - 3, BLOCK, 2 * BLOCK - 1):
            assert torch.equal(first(hosted.activations(batch, start=start), 3), rows[start : start + 3 * batch]), start
    assert torch.equal(next(iter(hosted)), rows[:1024])


def test_a_stream_goes_on_where_another_one_stood() -> None:
    hosted = host()
    stream = hosted.activations(100, start=5)
    before = first(stream, 30)
    assert stream.position == 3005
    rest = hosted.activations(10, start=stream.position)
    assert torch.equal(first(stream, 2), first(rest, 20))
    assert torch.equal(before, first(hosted.activations(3000, start=5), 1))
    assert "post, batches of 100, at position 3,205" in repr(stream)


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("tap", ["pre", "mid", "post"])
def test_activations_are_the_tap_of_the_samples_far_beyond_the_measured_ones(name: str, tap: str) -> None:
    hosted = host(name, tap)
    x = sampler(hosted.models.experiments).evaluation(2**33, 40)
    expected = getattr(tm.forward(hosted.models.bottleneck, hosted.models.parameters, x), tap)[0].T
    torch.testing.assert_close(next(hosted.activations(40)), expected)


def test_the_features_of_a_position_are_words_of_the_stream() -> None:
    hosted = host(features=tm.Features(n=N, density=0.3, values=tm.Binary()))
    threshold = round(0.3 * 2**32)
    for start in (0, 4097, 2**33 - 6):
        got = hosted.streamed(5, start=start)
        words = [[word(7, i, 2**33 + start + s, 0, 3) for i in range(N)] for s in range(5)]
        assert np.array_equal(got.x, (np.array(words, np.int64) < threshold).astype(np.float32))
        assert torch.equal(got.active, got.x != 0)


def test_nothing_streamed_is_measured_or_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert BEGINS >= 8 * MAX_SAMPLES
    asked: list[tuple[int, int]] = []
    examples = Models.examples
    monkeypatch.setattr(Models, "examples", lambda of, a, n: asked.append((a, n)) or examples(of, a, n))
    hosted = host()
    first(hosted.activations(1000), 5)
    next(hosted.activations(10, start=LENGTH - 5))
    assert all(BEGINS <= begin and begin + many <= BEGINS + LENGTH for begin, many in asked)
    asked.clear()
    hosted.sample(1000, start=999)
    assert hosted.directions.delta.any()
    assert all(begin + many <= BEGINS for begin, many in asked)
    # And the numbers differ: of 8 uniform features hardly any two samples are alike.
    streamed = hosted.streamed(500, start=0).x
    training = sampler(hosted.models.experiments).training(0, 500)[0].T
    for other in (hosted.sample(500).x, training):
        alike = (streamed[:, None] == other[None]).all(2) & streamed.any(1)[:, None]
        assert not alike.any()


def test_the_stream_begins_again_after_its_last_position() -> None:
    hosted = host()
    rows = next(hosted.activations(10, start=LENGTH - 4))
    assert torch.equal(rows[4:], next(hosted.activations(6)))
    assert torch.equal(rows, next(hosted.activations(10, start=3 * LENGTH - 4)))
    assert torch.equal(hosted.streamed(4, start=LENGTH - 4).activations, rows[:4])


def test_a_batch_is_the_readers_own() -> None:
    hosted = host()
    stream = hosted.activations(16)
    next(stream).fill_(torch.nan)
    assert next(stream).isfinite().all()
    for row in islice(hosted.activations(BLOCK), 2):
        assert row.is_contiguous()
        row.zero_()
    assert next(hosted.activations(5)).any()


@pytest.mark.parametrize("name", ["affine norm", "routed"])
def test_settings_of_the_process_change_nothing(name: str) -> None:
    hosted = host(name)
    before = next(hosted.activations(64))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        stream = hosted.activations(64)
        inside = next(stream)
    assert torch.equal(inside, before)
    assert not inside.is_inference()
    assert not inside.requires_grad
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(next(hosted.activations(64)), before)
    finally:
        torch.set_default_dtype(torch.float32)


def test_models_in_double_precision_are_streamed_in_single() -> None:
    hosted = host()
    double = HostedModel(hosted.models.changed(hosted.models.parameters.to("cpu", torch.float64)))
    got = next(double.activations(32))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, next(hosted.activations(32)), rtol=1e-4, atol=1e-5)


class Nested(tm.Data):
    """Feature i is active in half of what feature i - 1 is active in."""

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> torch.Tensor:
        return (self.uniforms(seed, first, samples, step) < 0.5).cumprod(0).float()


@pytest.mark.parametrize("data", [Nested(N), tm.Dataset(torch.rand(50, N, generator=torch.Generator().manual_seed(0)))])
def test_data_of_ones_own_is_streamed(data: tm.Data) -> None:
    hosted = host(features=data)
    rows = hosted.streamed(3000, start=2)
    assert torch.equal(first(hosted.activations(1000, start=2), 3), rows.activations)
    assert torch.equal(rows.x.T, data.draw(7, 2**33, 3004, None)[:, 2:3002])


def test_two_models_of_one_seed_see_the_same_features_and_of_two_others() -> None:
    one, same = host("tied"), host("affine norm")
    assert torch.equal(one.streamed(100).x, same.streamed(100).x)
    other = HostedModel(Models([tm.Experiment(FEATURES, ARCHITECTURES["tied"], seed=8)], one.models.parameters))
    assert not torch.equal(one.streamed(100).x, other.streamed(100).x)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"batch": 0}, "batch: expected a whole number from 1 to"),
        ({"batch": 2.0}, "batch: expected a whole number from 1 to"),
        ({"start": -1}, "start: expected a whole number from 0 to"),
        ({"start": True}, "start: expected a whole number from 0 to"),
    ],
)
def test_what_cannot_be_streamed_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        host().activations(**given)
