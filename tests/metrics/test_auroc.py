"""The AUROC of the best neuron against Mann and Whitney's U, ties included, and against what must not change it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.stats
import torch

import toymodels as tm
from toymodels.bottleneck import hidden
from toymodels.hosts import Models
from toymodels.metrics.auroc import AUROC_ON, best_neuron_auroc
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import best_neuron
from toymodels.training.experiment import sampler, start, target_of

FEATURES = tm.Features(10, 0.1, tm.Frequency(tm.Zipf(0.7), cap=0.6), values=tm.Binary())
NORMED = tm.Bottleneck(6, tm.SoLU(), tm.LayerNorm(), tm.Linear(), tied=False, hidden_bias=True)


def models(bottleneck, features=FEATURES, count=3, **objective):
    es = [tm.Experiment(features, bottleneck, seed=seed, **objective) for seed in range(count)]
    parameters = start(es, sampler(es))
    generator = torch.Generator().manual_seed(0)
    W_in = parameters.W_in + torch.randn(parameters.W_in.shape, generator=generator)
    return es, dataclasses.replace(parameters, W_in=W_in)


def measured(es, parameters, samples=3000):
    return best_neuron_auroc(Models(es, parameters), collect(Models(es, parameters), samples), samples)


@pytest.mark.parametrize(
    "bottleneck, objective",
    [
        (NORMED, {}),
        (tm.Bottleneck(4, tm.ReLU(), tied=False), {}),  # many zeros, and so many ties
        (dataclasses.replace(NORMED, embedding=tm.Embedding(5)), {"target": tm.And(13)}),
    ],
)
@pytest.mark.parametrize("samples", [100, 3000])
def test_it_is_mann_and_whitneys_u_over_the_number_of_pairs(bottleneck, objective, samples):
    es, parameters = models(bottleneck, **objective)
    moments = collect(Models(es, parameters), samples)
    found, neuron = best_neuron_auroc(Models(es, parameters), moments, samples).numpy(), best_neuron(moments, "post")
    x = sampler(es).evaluation(0, samples)
    t, post = target_of(es)(x).numpy(), hidden(bottleneck, parameters, x).post.numpy()
    defined = 0
    for model, target in np.ndindex(*found.shape):
        on = t[model, target] == 1
        if on.all() or not on.any():
            assert np.isnan(found[model, target])
            continue
        values = post[model, neuron[model, target]]
        u = scipy.stats.mannwhitneyu(values[on], values[~on]).statistic / on.sum() / (~on).sum()
        assert found[model, target] == pytest.approx(max(u, 1 - u), abs=1e-12)
        defined += 1
    assert defined > found.size / 3


def test_a_neuron_that_follows_a_feature_or_its_absence_is_1_and_one_that_is_still_a_half():
    e = tm.Experiment(
        tm.Features(3, 0.2, values=tm.Binary()), tm.Bottleneck(3, tm.Linear(), None, tm.Linear(), tied=False)
    )
    parameters = tm.Parameters(torch.diag(torch.tensor([1.0, -1.0, 1.0]))[None], torch.ones(1, 3, 3))
    assert measured([e], parameters).tolist() == [[1, 1, 1]]
    still = dataclasses.replace(parameters, W_in=torch.zeros(1, 3, 3))
    assert measured([e], still).tolist() == [[0.5, 0.5, 0.5]]


def test_targets_that_are_not_0_or_1_are_undefined():
    for features, objective in (
        (tm.Features(4, 0.2), {}),
        (tm.Features(4, 0.2, values=tm.Binary(), signed=True), {}),
    ):
        es, parameters = models(tm.Bottleneck(2, output=tm.Linear()), features, **objective)
        assert measured(es, parameters).isnan().all()
    absolute = tm.Features(4, 0.2, values=tm.Binary(), signed=True)
    es, parameters = models(tm.Bottleneck(4, tm.ReLU(), tied=False), absolute, target=tm.AbsoluteValue())
    assert not measured(es, parameters).isnan().any()


def test_order_gain_bias_and_what_layer_norm_deletes_change_nothing():
    linear = dataclasses.replace(NORMED, activation=tm.Linear())
    es, parameters = models(linear)
    before = measured(es, parameters)
    v = torch.randn(3, 1, 10, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([5, 2, 0, 1, 4, 3])
    assert parameters.b_in is not None
    assert parameters.ln_gain is not None
    assert parameters.ln_bias is not None
    scaled = parameters.ln_gain * torch.tensor([-2, -1, 0.5, 1, 2, 3])
    for changed in (
        dataclasses.replace(parameters, W_in=parameters.W_in + v),
        dataclasses.replace(parameters, W_in=parameters.W_in[:, order], b_in=parameters.b_in[:, order]),
        dataclasses.replace(parameters, ln_gain=scaled, ln_bias=parameters.ln_bias + 3),
    ):
        torch.testing.assert_close(measured(es, changed), before, rtol=0, atol=2e-3)  # ties that rounding makes


def test_samples_beyond_the_most_are_left_out():
    es, parameters = models(NORMED, count=1)
    moments = collect(Models(es, parameters), 1000)
    most, more = (best_neuron_auroc(Models(es, parameters), moments, samples) for samples in (AUROC_ON, 2 * AUROC_ON))
    assert torch.equal(most, more)
