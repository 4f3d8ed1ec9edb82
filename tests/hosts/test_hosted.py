"""One model at one tap: samples with what made them, the module, and what is refused."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from tests.hosts.test_streaming import host
from toymodels.hosts.hosted import HostedModel, hosted
from toymodels.hosts.models import Models
from toymodels.hosts.module import HookedLayer
from toymodels.metrics.dictionaries import activations


@pytest.fixture(scope="module")
def trained() -> tm.Trained:
    experiments = [
        tm.Experiment(tm.Features(6, 0.3), tm.Bottleneck(3), tm.Training(steps=20, batch=16), seed=seed)
        for seed in range(3)
    ]
    return tm.train(experiments, engine="autograd")


@pytest.mark.parametrize("start", [0, 1, 6, 4001])
def test_a_sample_is_of_the_data_that_measures_are_taken_on(start: int) -> None:
    of = host(tap="mid")
    got = of.sample(50, start=start)
    a, active = activations(of.models, "mid", start // 4 * 4, 56)
    kept = slice(start % 4, start % 4 + 50)
    torch.testing.assert_close(got.activations, a[0].T[kept])
    assert torch.equal(got.active, active[0].T[kept])
    taps = tm.forward(of.models.bottleneck, of.models.parameters, got.x.T[None])
    torch.testing.assert_close(got.activations, taps.mid[0].T)
    assert torch.equal(got.t, got.x)
    assert len(got) == 50
    assert (got.x != 0).any(0).all()


def test_a_signed_feature_is_two_to_a_dictionary() -> None:
    of = host("untied", features=tm.Features(8, 0.3, signed=True))
    got = of.sample(200)
    assert torch.equal(got.active, torch.cat([got.x > 0, got.x < 0], 1))
    assert len(of.directions) == 16


@pytest.mark.parametrize("signed", [False, True])
def test_its_l0_is_how_many_features_are_active(signed: bool) -> None:
    of = host("untied", features=tm.Features(8, 0.3, tm.Frequency(tm.Zipf(0.7)), signed=signed))
    counts = of.sample(20_000).active.sum(1).double()
    assert of.l0 == pytest.approx(2.4)
    assert abs(counts.mean().item() - of.l0) < 5 * counts.std().item() / 20_000**0.5


def test_targets_are_given_as_they_are() -> None:
    of = host("untied", features=tm.Features(8, 0.4), target=tm.And(5))
    got = of.sample(100)
    pairs = tm.And(5).members(8, 7)
    assert np.array_equal(got.t, got.x.numpy()[:, pairs[:, 0]] * got.x.numpy()[:, pairs[:, 1]])
    assert got.active.shape == (100, 8)


def test_one_of_several_models_is_named(trained: tm.Trained) -> None:
    of = tm.host(trained, 1)
    assert of.tap == "post"
    assert torch.equal(of.models.parameters.W_in[0], trained.parameters.W_in[1])
    again = hosted(Models(trained.experiments, trained.parameters), np.int64(1))  # pyright: ignore[reportArgumentType]
    assert torch.equal(next(again.activations(50)), next(of.activations(50)))
    assert tm.host(of.models).models.parameters.W_in.shape == (1, 3, 6)
    assert repr(tm.host(trained, 2, "mid")) == "HostedModel: Linear, 3 neurons, tap 'mid'"
    assert of.hidden == 3


@pytest.mark.parametrize(
    "model, tap, words",
    [
        (None, None, "model: expected a number from 0 to 2, got none"),
        (3, None, "model: expected a whole number from 0 to 2, got 3"),
        (-1, None, "model: expected a whole number from 0 to 2, got -1"),
        (1.0, None, "model: expected a whole number"),
        (0, "readout", "tap: expected one of pre, mid, post, got 'readout'"),
    ],
)
def test_what_cannot_be_hosted_is_refused(trained: tm.Trained, model: Any, tap: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        tm.host(trained, model, tap)


def test_a_model_that_diverged_is_refused(trained: tm.Trained) -> None:
    parameters = trained.parameters[:1]
    parameters.W_in[0, 0, 0] = torch.inf
    with pytest.raises(ValueError, match="expected a model whose weights are finite, got one that diverged"):
        tm.host(Models(trained.experiments[:1], parameters))
    with pytest.raises(ValueError, match="models: expected one model, got 3"):
        HostedModel(Models(trained.experiments, trained.parameters[[1, 1, 1]]))
    with pytest.raises(TypeError, match="models: expected Models, got Trained"):
        HostedModel(trained)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [0, 2**33 + 1])
def test_so_many_samples_there_are_not(count: int) -> None:
    with pytest.raises(ValueError, match="samples: expected a whole number from 1 to"):
        host().sample(count)
    with pytest.raises(ValueError, match="start: expected a whole number from 0 to 8589934582, got 8589934583"):
        host().sample(10, start=2**33 - 9)
    with pytest.raises(ValueError, match="samples: expected a whole number from 1 to 1, got 2"):
        host().streamed(2, start=2**33 - 1)


def test_without_transformer_lens_it_is_a_plain_module(monkeypatch: pytest.MonkeyPatch) -> None:
    of = host()
    monkeypatch.delitem(sys.modules, "toymodels.hosts.hooked", raising=False)
    monkeypatch.setitem(sys.modules, "transformer_lens", None)
    for layer in (of.as_module(), of.as_module(transformer_lens=False)):
        assert type(layer) is HookedLayer
        got = of.sample(100)
        taps = tm.forward(of.models.bottleneck, of.models.parameters, got.x.T[None])
        assert torch.equal(layer(got.x), taps.out[0].T)
    with pytest.raises(ImportError):
        of.as_module(transformer_lens=True)
    monkeypatch.setitem(
        sys.modules, "transformer_lens", ModuleType("transformer_lens")
    )  # there, but not as it should be
    with pytest.raises(ImportError):
        of.as_module()


def test_what_the_module_is_taught_the_host_does_not_learn() -> None:
    of = host()
    before = next(of.activations(8))
    layer = of.as_module(transformer_lens=False)
    with torch.no_grad():
        for each in layer.parameters():
            each.zero_()
    assert torch.equal(next(of.activations(8)), before)
