"""Routing: built by hand, where every number is known; against the moments; and what its order of experts means."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from toymodels import And, Binary, Bottleneck, Experiment, Features, GeLU, Linear, Parameters, ReLU, forward
from toymodels.gains import probabilities
from toymodels.hosts import Models
from toymodels.metrics.moments import collect
from toymodels.metrics.recovery import ENOUGH, best_neuron_r2
from toymodels.metrics.routing import routing
from toymodels.training.experiment import sampler, start

SOME = Features(4, 0.4, values=Binary())
LAYER = Bottleneck(4, ReLU(), None, Linear(), tied=False, experts=2)


def built(W_router, W_in, features=None) -> tuple[list[Experiment], Parameters]:
    """One model of four features with a router and neurons set by hand."""
    es = [Experiment(features or Features(4, 0.1, values=Binary()), LAYER)]
    began = start(es, sampler(es))
    return es, dataclasses.replace(began, W_router=torch.tensor([W_router]).float(), W_in=torch.tensor([W_in]).float())


def test_a_router_that_sends_everything_to_one_expert_has_no_balance():
    es, p = built([[40.0] * 4, [-40.0] * 4], np.eye(4).tolist())
    found = routing(Models(es, p), 20_000)
    assert found.balance.item() == 0
    assert found.home.tolist() == [[1, 1, 1, 1]]
    # Its two neurons are their features themselves; the other expert's never speak, and see no example.
    assert found.given_its_expert[0, :2].tolist() == pytest.approx([1, 1], abs=1e-5)
    assert (found.given_its_expert[0, 2:] < 0.2).all()  # of a non-empty input what is not one feature is another


def test_a_feature_that_another_one_routes_is_read_in_full_where_its_expert_works():
    """Feature 0 sends its examples to expert 0, which knows feature 3 alone; the others go to expert 1."""
    es, p = built([[40.0, 0, 0, 0], [0, 15.0, 15.0, 15.0]], np.eye(4)[[3, 3, 1, 2]].tolist(), SOME)
    x = sampler(es).evaluation(0, 40_000)
    assert p.W_router is not None
    chosen = probabilities(p.W_router, x).argmax(1)[0].numpy()
    found = routing(Models(es, p), 40_000)
    filled = (x != 0).any(1)[0].numpy()
    f = np.bincount(chosen[filled], minlength=2) / filled.sum()
    assert found.balance.item() == pytest.approx(-(f * np.log(f)).sum() / np.log(2), rel=1e-6)
    active = (x[0, 1] != 0).numpy()
    assert found.home[0, 1].item() == pytest.approx(np.bincount(chosen[active]).max() / active.sum(), rel=1e-6)
    post = forward(LAYER, p, x).post[0].numpy()
    in_expert = [filled & (chosen == k // 2) for k in range(4)]
    expected = [
        max(np.corrcoef(post[k][in_expert[k]], x[0, i].numpy()[in_expert[k]])[0, 1] ** 2 for k in range(4))
        for i in range(1, 4)
    ]
    np.testing.assert_allclose(found.given_its_expert[0, 1:], expected, rtol=1e-4)
    over_all = best_neuron_r2(collect(Models(es, p), 40_000), "post")[0, 1].item()
    assert found.given_its_expert[0, 1].item() > 0.95 > 0.7 > over_all


def test_without_a_router_it_is_the_best_neuron_over_all_that_is_not_empty():
    b = Bottleneck(3, GeLU(), hidden_bias=True)
    es = [Experiment(Features(6, 0.2), b, seed=seed) for seed in range(2)]
    p = start(es, sampler(es))
    found = routing(Models(es, p), 8192)
    assert found.balance.isnan().all()
    assert (found.home == 1).all()
    x = sampler(es).evaluation(0, 8192)
    post = forward(b, p, x).post
    for k in range(2):
        filled = (x[k] != 0).any(0)
        squared = np.corrcoef(post[k][:, filled].numpy(), x[k][:, filled].numpy())[:3, 3:] ** 2
        np.testing.assert_allclose(found.given_its_expert[k], squared.max(0), rtol=1e-4)


def test_too_few_active_examples_say_nothing():
    es, p = built([[1.0, 1, 1, 1], [-1.0, -1, -1, -1]], np.eye(4).tolist())
    samples = int(0.5 * ENOUGH / 0.1)
    found = routing(Models(es, p), samples)
    assert found.given_its_expert.isnan().all()
    assert found.home.isfinite().all()


def test_the_order_of_experts_changes_nothing():
    es = [Experiment(Features(6, 0.3), dataclasses.replace(LAYER, hidden=6, experts=3), seed=seed) for seed in range(3)]
    p = start(es, sampler(es))
    order = torch.tensor([1, 2, 0])
    assert p.W_router is not None
    neurons = torch.arange(6).view(3, 2)[order].flatten()
    turned = dataclasses.replace(p, W_in=p.W_in[:, neurons], W_router=p.W_router[:, order])
    before, after = routing(Models(es, p), 4096), routing(Models(es, turned), 4096)
    for name in ("balance", "home", "given_its_expert"):
        torch.testing.assert_close(getattr(before, name), getattr(after, name))


def test_targets_that_are_not_of_features_are_refused():
    es = [Experiment(Features(4, 0.3), LAYER, target=And(2))]
    with pytest.raises(ValueError, match="of features"):
        routing(Models(es, start(es, sampler(es))), 100)
