"""Budgets: the formulas against what is not 0 in models that are built, and in what they do with an example."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from toymodels import And, Bottleneck, Embedding, Experiment, Features, Identity, LayerNorm, Linear, ReLU, SoLU, forward
from toymodels.bottleneck import route
from toymodels.hosts import Models
from toymodels.metrics.budget import active_neurons, budget
from toymodels.training.experiment import sampler, start

DECODER = Bottleneck(12, Linear(), None, Linear(), tied=False, hidden_bias=True, embedding=Embedding(6))
LAYERS = {
    "dense": DECODER,
    "no biases": dataclasses.replace(DECODER, hidden_bias=False, output_bias=False),
    "LN": dataclasses.replace(DECODER, activation=SoLU(), layer_norm=LayerNorm()),
    "LN without gain": dataclasses.replace(DECODER, layer_norm=LayerNorm(affine=False)),
    "trained embedding": dataclasses.replace(DECODER, embedding=Embedding(6, trained=True)),
    "tied": Bottleneck(4, Linear()),
    "blocks": dataclasses.replace(DECODER, blocks=3),
    "top_k": dataclasses.replace(DECODER, top_k=5),
    "experts": dataclasses.replace(DECODER, experts=4),
    "experts, top_k": dataclasses.replace(DECODER, experts=4, top_k=2),
    "gated": dataclasses.replace(DECODER, gated=True),
    "gated blocks": dataclasses.replace(DECODER, gated=True, blocks=2),
    "gated experts": dataclasses.replace(DECODER, gated=True, experts=2),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("pairs", [None, 5])
def test_a_budget_is_what_is_not_0_in_a_model_and_in_what_it_does(name, pairs):
    b = LAYERS[name]
    if pairs is not None and b.tied:
        return
    e = Experiment(Features(8, 0.5), b, target=Identity() if pairs is None else And(pairs))
    began = start([e], sampler([e]))
    generator = torch.Generator().manual_seed(0)
    filled = {
        name: torch.randn(each.shape, generator=generator) * (each != 0 if "W" in name else 1)
        for name, each in began.trained(b).items()
    }
    p = dataclasses.replace(began, **filled)
    assert budget(e).parameters == sum(int((each != 0).sum()) for each in filled.values())

    x = sampler([e]).evaluation(0, 64)
    works = route(p, x)
    taps = forward(b, p, x)
    for s in (x != 0).any(1)[0].nonzero()[:, 0].tolist():
        neurons = torch.ones(b.hidden) if works is None else (works[0, :, s] != 0).float()
        read = sum(int((W[0] * neurons[:, None] != 0).sum()) for W in (p.W_in, p.W_gate) if W is not None)
        said = int((taps.mid[0, :, s] != 0).sum()) * e.n_targets
        asked = 0 if p.W_router is None else p.W_router.numel()
        assert budget(e).multiply_adds == read + said + asked
        assert budget(e).read_out == said


def test_the_formulas_of_the_page():
    m, d, T, n = 12, 6, 8, Features(8, 0.5)
    of = {name: budget(Experiment(n, b)) for name, b in LAYERS.items()}
    assert (of["dense"].parameters, of["dense"].multiply_adds) == (m * d + T * m + m + T, m * d + T * m)
    assert of["blocks"].parameters == m * d // 3 + T * m + m + T
    assert (of["top_k"].parameters, of["top_k"].multiply_adds) == (of["dense"].parameters, m * d + 5 * T)
    assert of["experts"].parameters == of["dense"].parameters + 4 * d
    assert of["experts"].multiply_adds == m * d // 4 + T * m // 4 + 4 * d
    assert of["gated"].parameters == of["dense"].parameters + m * d + m
    assert of["tied"].parameters == 4 * 8 + 8
    relu = dataclasses.replace(DECODER, activation=ReLU())
    assert budget(Experiment(n, relu)) == of["dense"]


def test_active_neurons_are_those_that_are_not_0():
    b = dataclasses.replace(DECODER, activation=ReLU())
    es = [Experiment(Features(8, 0.5), b, seed=seed) for seed in range(2)]
    p = start(es, sampler(es))
    mid = forward(b, p, sampler(es).evaluation(0, 1500)).mid
    expected = (mid > 0).double().mean(2).sum(1)
    assert active_neurons(Models(es, p), 1500).tolist() == pytest.approx(expected.tolist(), rel=1e-12)
    assert 0 < expected[0] < b.hidden
    linear = [Experiment(Features(8, 0.5), dataclasses.replace(LAYERS["top_k"], hidden_bias=True), seed=3)]
    began = start(linear, sampler(linear))
    assert began.b_in is not None
    moved = dataclasses.replace(began, b_in=torch.randn(began.b_in.shape, generator=torch.Generator().manual_seed(1)))
    assert active_neurons(Models(linear, moved), 640).item() == 5
