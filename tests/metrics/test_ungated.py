"""Ungated recovery against a loop over samples, and on a model that shows a feature only where no other is active."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import toymodels as tm
from toymodels.hosts import Models
from toymodels.metrics import ungated
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import r2
from toymodels.metrics.ungated import r2_ungated
from toymodels.training.experiment import sampler, target_of

RECIPE = tm.Training(steps=100, batch=64, learning_rate=1e-2)


def trained(features, bottleneck, models=2, **objective):
    es = [tm.Experiment(features, bottleneck, RECIPE, seed=seed, **objective) for seed in range(models)]
    return es, tm.train(es).parameters


def by_loops(es, parameters, gates, samples, first):
    """R^2 and active examples, one sample, feature and set after the other."""
    x = sampler(es).evaluation(first, samples)
    t, on = target_of(es)(x).double().numpy(), x.numpy() != 0
    out = tm.forward(es[0].bottleneck, parameters, x).out
    y = es[0].cost.prediction(out).double().numpy()
    found, active = np.full(gates.shape, np.nan), np.zeros(gates.shape, int)
    for s, model, i in np.ndindex(*gates.shape):
        others = [j for j in range(gates.shape[2]) if gates[s, model, j] and j != i]
        left = [b for b in range(samples) if not any(on[model, j, b] for j in others)]
        active[s, model, i] = sum(on[model, i, b] for b in left)
        values = t[model, i, left]
        if len(left) and np.var(values) > 0:
            found[s, model, i] = 1 - np.mean((values - y[model, i, left]) ** 2) / np.var(values)
    return found, active


SETTINGS: list[tuple[tm.Features, tm.Bottleneck, dict[str, Any]]] = [
    (tm.Features(8, 0.2), tm.Bottleneck(4, tm.GeLU(), tied=False), {}),
    (
        tm.Features(8, 0.3, signed=True),
        tm.Bottleneck(9, tm.ReLU(), None, tm.Linear(), tied=False),
        {"target": tm.AbsoluteValue()},
    ),
    (
        tm.Features(8, 0.1, values=tm.Binary()),
        tm.Bottleneck(4, tm.SoLU(), tm.LayerNorm(), tm.Linear(), tied=False, embedding=tm.Embedding(5)),
        {"loss": tm.CrossEntropy()},
    ),
]


@pytest.mark.parametrize("features, bottleneck, objective", SETTINGS)
@pytest.mark.parametrize("first", [0, 64])
def test_it_is_what_a_loop_over_samples_finds(features, bottleneck, objective, first, monkeypatch):
    es, parameters = trained(features, bottleneck, **objective)
    gates = torch.rand(4, 2, 8, generator=torch.Generator().manual_seed(0)) < 0.4
    gates[0] = False
    gates[1] = True
    found, active = r2_ungated(Models(es, parameters), gates, 1100, first=first)
    expected, examples = by_loops(es, parameters, gates.numpy(), 1100, first)
    assert found.dtype == torch.float64
    assert active.dtype == torch.int64
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(active, examples)
    monkeypatch.setattr(ungated, "AT_ONCE", 1)
    again, active_again = r2_ungated(Models(es, parameters), gates, 1100, first=first)
    torch.testing.assert_close(again, found, rtol=1e-5, atol=1e-6)
    assert torch.equal(active_again, active)


def test_without_a_set_it_is_r2():
    es, parameters = trained(tm.Features(8, 0.2), tm.Bottleneck(4, tm.ReLU()))
    moments = collect(Models(es, parameters), 3000)
    found, active = r2_ungated(Models(es, parameters), torch.zeros(1, 2, 8, dtype=torch.bool), 3000)
    torch.testing.assert_close(found[0], r2(moments), rtol=1e-4, atol=1e-6)
    assert torch.equal(active[0], moments.active)


def test_a_feature_that_comes_through_only_alone():
    """y_1 = ReLU(x_1 - x_0): feature 1 is lost where feature 0 is active, and perfect where it is not."""
    features = tm.Features(2, 0.5, values=tm.Binary())
    e = tm.Experiment(features, tm.Bottleneck(2, tm.ReLU(), None, tm.Linear(), tied=False))
    parameters = tm.Parameters(torch.tensor([[[1.0, 0.0], [-1.0, 1.0]]]), torch.eye(2)[None])
    gates = torch.tensor([[[True, False]], [[False, False]]])
    found, active = r2_ungated(Models([e], parameters), gates, 8192)
    assert found[0].tolist() == [[1, 1]]
    assert found[1, 0, 0] == 1
    assert found[1, 0, 1] == pytest.approx(0, abs=0.1)
    assert active[0, 0, 1].item() / 8192 == pytest.approx(0.25, abs=0.02)
    assert active[0, 0, 0] == active[1, 0, 0]


def test_what_does_not_vary_is_undefined():
    features = tm.Features(3, 1.0)
    es, parameters = trained(features, tm.Bottleneck(2, tm.ReLU()))
    gates = torch.tensor([[[True, False, False]] * 2])
    found, active = r2_ungated(Models(es, parameters), gates, 500)
    assert found[0, :, 0].isfinite().all()
    assert found[0, :, 1:].isnan().all()
    assert (active[0, :, 1:] == 0).all()


def test_targets_of_pairs_and_gates_of_other_shape_are_refused():
    bottleneck = tm.Bottleneck(4, tm.ReLU(), tied=False)
    es, parameters = trained(tm.Features(6, 0.2, values=tm.Binary()), bottleneck, target=tm.And(3))
    with pytest.raises(ValueError, match="of features"):
        r2_ungated(Models(es, parameters), torch.zeros(1, 2, 6, dtype=torch.bool), 100)
    es = [dataclasses.replace(e, target=tm.Identity()) for e in es]
    for shape in ((2, 6), (1, 2, 5), (1, 3, 6)):
        with pytest.raises(ValueError, match="gates"):
            r2_ungated(Models(es, parameters), torch.zeros(*shape, dtype=torch.bool), 100)
