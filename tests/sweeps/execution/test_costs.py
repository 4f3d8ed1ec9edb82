"""What groups that were not timed are told to cost, on machines whose every cost is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import toymodels as tm
from toymodels.sweeps.execution.costs import NOISE, UNKNOWN, Costs, kind, of_step, reference

RELU, SOLU = tm.ReLU(), tm.SoLU()


def one(n: int, hidden: int, activation: tm.Activation = RELU, **training: Any) -> tm.Experiment:
    return tm.Experiment(tm.Features(n, 0.1), tm.Bottleneck(hidden, activation), tm.Training(**training))


def timed(costs: Costs, group: int, slower: float) -> None:
    """A machine so many times slower than the imagined one, and twice as slow again as it is now."""
    costs.know(group, costs.references[group][:, None] * np.array([slower, 2 * slower]))


def test_reference_counts_what_is_done() -> None:
    small, large = reference(one(64, 16), 1000), reference(one(64, 32), 1000)
    assert 1 < large[0] / small[0] < 2
    np.testing.assert_allclose(reference(one(64, 16, steps=20_000), 1000)[0], 2 * small[0])
    np.testing.assert_allclose(reference(one(64, 16, batch=512), 1000)[0] / small[0], 0.5, rtol=0.01)


def test_an_embedding_and_targets_cost_what_they_are_and_make_another_kind() -> None:
    def cost(embedding: tm.Embedding | None = None, target: tm.Target | None = None, **more: Any) -> tm.Experiment:
        bottleneck = tm.Bottleneck(16, RELU, tied=False, output=tm.Linear(), embedding=embedding)
        features = tm.Features(64, 0.1, values=tm.Binary())
        return tm.Experiment(features, bottleneck, target=target or tm.Identity(), **more)

    def products(e: tm.Experiment) -> float:  # the arithmetic of the two matrices in a step, and of all that is as wide
        return e.training.batch * 5 * 16 * (64 + e.n_targets) + 30 * 16 * (64 + e.n_targets)

    plain = cost()
    assert of_step(plain) == products(plain) + plain.training.batch * 60 * (64 + 16)
    many = cost(target=tm.And(640))
    assert of_step(many) == products(many) + many.training.batch * 60 * (640 + 16)
    assert reference(many, 1000)[1] > reference(plain, 1000)[1]
    embedded = cost(tm.Embedding(32))
    weights = 16 * 32 + 64 * 16 + 32 * 64
    assert of_step(embedded) == plain.training.batch * (5 * weights + 60 * (64 + 32 + 16)) + 30 * weights
    trained = cost(tm.Embedding(32, trained=True))
    entropy = cost(loss=tm.CrossEntropy())
    assert len({kind(e) for e in (plain, many, embedded, trained, entropy)}) == 5


def test_on_a_machine_of_one_speed_every_group_is_told_from_one() -> None:
    costs = Costs.of([one(64, hidden) for hidden in (2, 4, 8, 16, 32)], [1000] * 5)
    timed(costs, 2, 0.25)
    np.testing.assert_allclose(costs.seconds()[:, :, 0], 0.25 * costs.references)
    np.testing.assert_allclose(costs.seconds()[:, :, 1], 0.5 * costs.references)
    assert costs.scatter() == UNKNOWN
    timed(costs, 4, 0.25)
    assert costs.scatter() == NOISE


def test_a_group_is_told_from_the_nearest_of_its_kind() -> None:
    likes = [one(64, hidden, act) for act in (RELU, SOLU) for hidden in (4, 8, 64, 128)]
    costs = Costs.of(likes, [1000] * 8)
    for group, slower in ((0, 1.0), (3, 2.0), (4, 5.0), (7, 10.0)):
        timed(costs, group, slower)
    ratios = costs.seconds()[:, 0, 0] / costs.references[:, 0]
    np.testing.assert_allclose(ratios, [1, 1, 2, 2, 5, 5, 10, 10])


def test_scatter_is_how_far_off_timed_groups_are_when_told_from_the_others() -> None:
    costs = Costs.of([one(64, hidden) for hidden in (4, 8)], [1000] * 2)
    timed(costs, 0, 1.0)
    timed(costs, 1, 3.0)
    assert costs.scatter() == pytest.approx(3.0)


def test_a_part_that_was_not_timed_is_told_from_another_group() -> None:
    costs = Costs.of([one(64, hidden) for hidden in (4, 8)], [1000] * 2)
    untimed = np.full((3, 2), np.nan)
    untimed[0] = 7.0
    costs.know(0, untimed)
    np.testing.assert_allclose(costs.seconds()[0, 0], 7.0)
    np.testing.assert_allclose(costs.seconds()[:, 1:], np.stack([costs.references[:, 1:]] * 2, axis=2))
    timed(costs, 1, 0.1)
    np.testing.assert_allclose(costs.seconds()[0, 1:, 0], 0.1 * costs.references[0, 1:])


def test_groups_to_time_are_the_cheapest_and_then_the_least_like_those_timed() -> None:
    costs = Costs.of([one(64, hidden) for hidden in (8, 4, 16, 128, 32)], [1000] * 5)
    chosen = []
    while (group := costs.farthest({4})) is not None:
        chosen.append(group)
        timed(costs, group, 1.0)
    assert chosen == [1, 3, 2, 0]
