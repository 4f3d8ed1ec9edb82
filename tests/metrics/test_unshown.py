"""What an inspection does not show, of a model made by hand in which the shares are known exactly; and what changes
nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard

import toymodels as tm
from tests.metrics.test_inspection import SPARSE, models
from toymodels.hosts import Models
from toymodels.metrics.inspection import strongest
from toymodels.metrics.moments import collect
from toymodels.metrics.unshown import loss_of, mean_activity, unshown
from toymodels.surgery import OnlyNeurons, operate
from toymodels.training.experiment import sampler

SIZE = 32
SAMPLES = 20_000
IMPORTANCE = (3.0,) * SIZE + (1.0,) * SIZE


def half_in_neurons(norm: tm.LayerNorm | None = None):
    """`SIZE` features in a neuron each, and as many spread over as many neurons by a Hadamard matrix; all exact."""
    importance = tm.Importance(tm.Listed(IMPORTANCE))
    features = tm.Features(2 * SIZE, 0.02, importance=importance, values=tm.Binary())
    bottleneck = tm.Bottleneck(2 * SIZE, tm.Linear(), norm, tm.Linear(), tied=False)
    W = torch.eye(2 * SIZE, dtype=torch.float64)
    W[SIZE:, SIZE:] = torch.from_numpy(hadamard(SIZE) / np.sqrt(SIZE))
    es = [tm.Experiment(features, bottleneck, seed=seed) for seed in range(2)]
    n = 2 * SIZE
    return es, tm.Parameters(W.expand(2, n, n), W.T.expand(2, n, n), b_out=torch.zeros(2, n, dtype=torch.float64))


def test_of_a_model_with_half_its_features_in_neurons_that_half_is_shown() -> None:
    es, parameters = half_in_neurons()
    shows = strongest(es, parameters, SAMPLES).shows
    expected = torch.zeros(2 * SIZE, 2 * SIZE, dtype=torch.bool)
    expected[:SIZE, :SIZE] = torch.eye(SIZE, dtype=torch.bool)
    assert torch.equal(shows, expected.expand(2, -1, -1))
    found = unshown(Models(es, parameters), shows, collect(Models(es, parameters), SAMPLES))
    assert found.features.tolist() == [0.5, 0.5]
    # Everything is said exactly: a feature's share is its importance, three quarters of which are shown.
    assert found.achieved.tolist() == pytest.approx([0.25, 0.25], abs=1e-9)
    assert found.ablated.tolist() == pytest.approx([0.25, 0.25], abs=0.02)
    assert found.refitted.tolist() == pytest.approx([0.25, 0.25], abs=0.02)
    everything = unshown(Models(es, parameters), torch.ones_like(shows), collect(Models(es, parameters), SAMPLES))
    assert [each.tolist() for each in vars(everything).values()] == [[0, 0]] * 4
    nothing = unshown(Models(es, parameters), torch.zeros_like(shows), collect(Models(es, parameters), SAMPLES))
    assert nothing.features.tolist() == [1, 1]
    assert nothing.achieved.tolist() == pytest.approx([1, 1])
    assert nothing.ablated.tolist() == pytest.approx([1, 1], abs=0.05)


def test_only_some_neurons_are_what_a_loop_over_examples_makes_of_them() -> None:
    for norm in (None, tm.LayerNorm()):
        bottleneck = tm.Bottleneck(5, tm.GeLU(), norm, tm.Linear(), tied=False, hidden_bias=True)
        es, parameters = models(bottleneck)
        kept = torch.tensor([[True, False, True, True, False], [False, False, True, False, True]])
        rest = mean_activity(Models(es, parameters), 512)
        x = sampler(es).evaluation(0, 512).double()
        mid = tm.forward(bottleneck, parameters, x).mid.numpy()
        a = mid - (0 if norm is None else np.median(mid, axis=1, keepdims=True))
        np.testing.assert_allclose(rest.numpy(), a.mean(2))
        expected = a.copy()
        for model, k in np.argwhere(~kept.numpy()):
            expected[model, k] = a[model, k].mean()
        taps = operate(bottleneck, parameters, x, OnlyNeurons(kept, rest))
        np.testing.assert_allclose(taps.mid.numpy(), expected)
        loss = (taps.out - x).square().sum(1).mean(1)
        torch.testing.assert_close(loss_of(Models(es, parameters), OnlyNeurons(kept, rest), samples=512, first=0), loss)


def test_order_of_neurons_and_what_layer_norm_deletes_change_nothing() -> None:
    bottleneck = tm.Bottleneck(6, tm.Linear(), tm.LayerNorm(), tm.Linear(), tied=False, hidden_bias=True)
    es, parameters = models(bottleneck)
    shows = torch.rand(2, 6, 12, generator=torch.Generator().manual_seed(2)) > 0.9
    before = unshown(Models(es, parameters), shows, collect(Models(es, parameters), 4096))
    order = torch.tensor([3, 1, 0, 4, 2, 5])
    v = torch.randn(2, 1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shifted = dataclasses.replace(parameters, W_in=parameters.W_in + v)
    named = {
        name: each[:, order] for name, each in shifted.trained(bottleneck).items() if name not in ("W_out", "b_out")
    }
    assert shifted.W_out is not None
    moved = dataclasses.replace(shifted, **named, W_out=shifted.W_out[:, :, order])
    after = unshown(Models(es, moved), shows[:, order], collect(Models(es, moved), 4096))
    for name, each in vars(before).items():
        torch.testing.assert_close(getattr(after, name), each, equal_nan=True, rtol=1e-5, atol=1e-6)


def test_pairs_are_no_features() -> None:
    e = tm.Experiment(SPARSE, tm.Bottleneck(4, tm.ReLU(), None, tm.Linear(), tied=False), target=tm.And(3))
    with pytest.raises(ValueError, match="not of features"):
        unshown(Models([e], tm.Parameters(torch.zeros(1, 4, 12))), torch.zeros(1, 4, 12), None)  # type: ignore[arg-type]
