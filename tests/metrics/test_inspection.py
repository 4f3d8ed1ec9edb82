"""Strongest examples against a sort of all of them; the rule against neurons made by hand; and what changes nothing."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.bottleneck import hidden
from toymodels.metrics import inspection
from toymodels.metrics.gauge import gauged
from toymodels.metrics.inspection import EXAMPLES, OFTEN, Strongest, strongest
from toymodels.training.experiment import sampler, start

SPARSE = tm.Features(12, 0.15, values=tm.Binary())
SAMPLES = 1600


def models(bottleneck, features=SPARSE, count=2, dtype=torch.float64):
    """Models with every trained number moved away from where it starts."""
    es = [tm.Experiment(features, bottleneck, seed=seed) for seed in range(count)]
    first, generator = start(es, sampler(es), dtype), torch.Generator().manual_seed(3)
    moved = {
        name: each + torch.randn(each.shape, generator=generator, dtype=dtype)
        for name, each in first.trained(bottleneck).items()
    }
    return es, dataclasses.replace(first, **moved)


def by_hand(W: Any, features, b_in=None, activation=None, seed=0):
    """A model of given W_in [hidden, feature] and b_in, and its experiment."""
    W = torch.as_tensor(W, dtype=torch.float64)
    bottleneck = tm.Bottleneck(
        len(W), activation or tm.Linear(), None, tm.Linear(), tied=False, hidden_bias=b_in is not None
    )
    b = None if b_in is None else torch.as_tensor(b_in, dtype=torch.float64)[None]
    return [tm.Experiment(features, bottleneck, seed=seed)], tm.Parameters(W[None], W.T[None], b_in=b)


@pytest.mark.parametrize("at_once", [64 * 12, 2**19])
@pytest.mark.parametrize(
    "bottleneck, features",
    [
        (tm.Bottleneck(5, tm.GeLU(), None, tm.Linear(), tied=False, hidden_bias=True), SPARSE),
        (tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), tm.Linear(), tied=False), SPARSE),
        (tm.Bottleneck(5, tm.ReLU(), None, tm.Linear(), tied=False), tm.Features(12, 0.15)),
        (tm.Bottleneck(5, tm.Linear(), tm.LayerNorm(), tied=False), tm.Features(12, 0.15, signed=True)),
    ],
)
def test_they_are_the_first_of_all_examples_sorted_one_of_each_active_set(bottleneck, features, at_once, monkeypatch):
    monkeypatch.setattr(inspection, "NUMBERS_AT_ONCE", at_once)
    target = tm.AbsoluteValue() if features.signed else tm.Identity()
    es, parameters = models(bottleneck, features)
    es = [dataclasses.replace(e, target=target) for e in es]
    found = strongest(es, parameters, SAMPLES)
    x = sampler(es).evaluation(0, SAMPLES).double()
    a = gauged(bottleneck, hidden(bottleneck, parameters, x).mid)
    for model, k in np.ndindex(len(es), bottleneck.hidden):
        best: dict[tuple[bool, ...], float] = {}
        for sample, value in enumerate(a[model, k].tolist()):
            of = tuple((x[model, :, sample] != 0).tolist())
            best[of] = max(best.get(of, -math.inf), value)
        expected = sorted(best.values(), reverse=True)
        assert found.strength[model, k].tolist() == pytest.approx(expected[:EXAMPLES], abs=1e-12)
        assert found.tied[model, k] == (len(set(expected[: EXAMPLES + 1])) <= EXAMPLES)
        sets = [tuple(each) for each in (found.x[model, k] != 0).tolist()]
        assert len(set(sets)) == EXAMPLES
        assert [best[each] for each in sets] == pytest.approx(expected[:EXAMPLES], abs=1e-12)
        at = a[model, k, found.sample[model, k]]
        assert torch.allclose(at, found.strength[model, k])
        assert torch.equal(found.x[model, k], x[model, :, found.sample[model, k]].T)
    distinct = [np.unique((row != 0).numpy(), axis=1) for row in x]
    rates = np.maximum([each.mean(1) for each in distinct], features.probabilities())
    np.testing.assert_allclose(found.base_rate.numpy(), rates)


def test_a_neuron_of_one_feature_shows_it_and_one_of_many_dense_features_shows_none() -> None:
    es, parameters = by_hand(torch.eye(12), SPARSE, activation=tm.ReLU())
    found = strongest(es, parameters, SAMPLES)
    assert torch.equal(found.shows[0], torch.eye(12, dtype=torch.bool))
    many = tm.Features(1000, 0.2, values=tm.Binary())
    W = torch.randn(16, 1000, generator=torch.Generator().manual_seed(0))
    assert not strongest(*by_hand(W, many), samples=8192).interpretable.any()


def test_a_frequent_feature_that_a_neuron_does_not_read_is_not_shown() -> None:
    weights = np.full(40, 0.1)
    weights[0] = 0.9
    law = tm.Frequency(tm.Listed(tuple(weights)))
    features = tm.Features(40, float(weights.mean()), law, values=tm.Binary())
    W = torch.randn(24, 40, generator=torch.Generator().manual_seed(1))
    W[:, 0] = 0
    found = strongest(*by_hand(W, features), samples=20_000)
    assert (found.counts[0, :, 0] >= OFTEN).any()
    assert not found.shows[0, :, 0].any()


def fabricated(count: int, n: int, base_rate: float) -> Strongest:
    """A neuron with feature 0 active in so many of its examples."""
    x = torch.zeros(1, 1, EXAMPLES, n)
    x[0, 0, :count, 0] = 1
    flag = torch.zeros(1, 1, dtype=torch.bool)
    sample = torch.arange(EXAMPLES).expand(1, 1, -1)
    rates = torch.full((1, n), base_rate, dtype=torch.float64)
    return Strongest(sample, x, -sample.double(), flag, flag, rates, (x[0] != 0).sum(1))


@pytest.mark.parametrize("n", [2, 64, 1000])
@pytest.mark.parametrize("base_rate", [0.02, 0.25, 0.4, 0.5, 0.7])
def test_the_bound_is_the_binomial_tail_in_exact_fractions(n: int, base_rate: float) -> None:
    p = Fraction(base_rate)
    for count in range(12, EXAMPLES + 1):
        tail = sum(math.comb(EXAMPLES, k) * p**k * (1 - p) ** (EXAMPLES - k) for k in range(count, EXAMPLES + 1))
        expected = count >= 16 and tail < Fraction(5, 100 * n)
        found = fabricated(count, n, base_rate)
        assert found.interpretable.item() == expected
        assert found.testable.item() == expected  # all there are with the feature are in the neuron's list


@pytest.mark.parametrize(
    ("features", "testable"),
    [
        (SPARSE, True),
        (tm.Features(12, 1 / 12, firing=tm.One(), values=tm.Binary()), False),  # each set occurs once
        (tm.Features(4, 0.3, values=tm.Binary()), False),  # 8 of 16 sets have a feature
        (tm.Features(5, 0.3, values=tm.Binary()), True),  # 16 of 32: no fewer than the rule asks for
        (tm.Features(12, 0.8, values=tm.Binary()), False),  # each is in most sets by chance
    ],
)
def test_where_no_neuron_could_show_a_feature_it_is_said(features: tm.Features, testable: bool) -> None:
    W = torch.randn(30, features.n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    W = torch.cat([torch.eye(features.n, dtype=torch.float64), W])  # what shows all it can, and others
    found = strongest(*by_hand(W, features), samples=8192)
    assert found.testable.tolist() == [testable]
    assert found.interpretable.any().item() == testable
    x = sampler(by_hand(W, features)[0]).evaluation(0, 8192)[0]
    assert found.distinct[0].tolist() == np.unique((x != 0).numpy(), axis=1).sum(1).tolist()


def test_dead_neurons_show_nothing_and_chance_orders_what_is_equal() -> None:
    W = torch.eye(3, 12)
    es, parameters = by_hand(W, SPARSE, [-2.0, 0.0, 0.0], tm.ReLU())
    found = strongest(es, parameters, SAMPLES)
    assert found.dead.tolist() == [[True, False, False]]
    assert found.tied.all()  # 0 or 1, whatever else is active
    assert not found.shows[0, 0].any()
    assert found.shows[0, 1, 1]
    of_other_seed = strongest(*by_hand(W, SPARSE, [-2.0, 0.0, 0.0], tm.ReLU(), seed=1), samples=SAMPLES)
    equal = [(each.x[0, 0] != 0).double().mean().item() for each in (found, of_other_seed)]
    assert equal == pytest.approx([found.base_rate.mean().item()] * 2, abs=0.1)  # not the small sets, nor the first
    assert not torch.equal(found.x[0, 0], of_other_seed.x[0, 0])


def test_fewer_sets_than_examples_leave_places_empty() -> None:
    two = tm.Features(2, 0.3, values=tm.Binary())
    found = strongest(*by_hand([[1.0, 2.0]], two), samples=SAMPLES)
    assert found.examples.tolist() == [[4]]
    assert found.x[0, 0, :4].tolist() == [[1, 1], [0, 1], [1, 0], [0, 0]]
    assert found.strength[0, 0, 3:5].tolist() == [0, -math.inf]
    assert not found.shows.any()


def test_order_and_scale_of_neurons_and_what_layer_norm_deletes_change_nothing() -> None:
    order = torch.tensor([2, 0, 3, 1, 4])
    plain = tm.Bottleneck(5, tm.ReLU(), None, tm.Linear(), tied=False, hidden_bias=True)
    es, parameters = models(plain)
    before = strongest(es, parameters, SAMPLES)
    assert parameters.b_in is not None
    scale = torch.tensor([0.1, 1, 7, 2, 3], dtype=torch.float64)
    scaled = dataclasses.replace(parameters, W_in=parameters.W_in * scale[:, None], b_in=parameters.b_in * scale)
    assert torch.equal(strongest(es, scaled, SAMPLES).sample, before.sample)
    permuted = dataclasses.replace(parameters, W_in=parameters.W_in[:, order], b_in=parameters.b_in[:, order])
    after = strongest(es, permuted, SAMPLES)
    for name, each in vars(before).items():
        expected = each if name in ("base_rate", "distinct") else each[:, order]
        assert (
            torch.allclose(getattr(after, name), expected)
            if name == "strength"
            else torch.equal(getattr(after, name), expected)
        )
    es, parameters = models(dataclasses.replace(plain, activation=tm.Linear(), layer_norm=tm.LayerNorm()))
    v = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert parameters.b_in is not None
    moved = dataclasses.replace(parameters, W_in=parameters.W_in + v, b_in=parameters.b_in + 3)
    assert torch.equal(strongest(es, moved, SAMPLES).sample, strongest(es, parameters, SAMPLES).sample)
    # Without LayerNorm it is another model, and other examples are its strongest.
    without = [dataclasses.replace(e, bottleneck=dataclasses.replace(e.bottleneck, layer_norm=None)) for e in es]
    assert not torch.equal(strongest(without, moved, SAMPLES).sample, strongest(without, parameters, SAMPLES).sample)


def test_a_model_alone_and_in_a_batch_are_inspected_alike() -> None:
    es, parameters = models(tm.Bottleneck(5, tm.GeLU(), None, tm.Linear(), tied=False), count=3)
    together = strongest(es, parameters, 512)
    alone = strongest(es[1:2], parameters[1:2], 512)
    assert torch.equal(together.sample[1:2], alone.sample)
