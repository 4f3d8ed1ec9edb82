"""Trees of features: who fires with whom, how often, and that every engine and every batch draws the same."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from toymodels import (
    Anticorrelated,
    Binary,
    Bottleneck,
    Experiment,
    Exponential,
    Features,
    Frequency,
    Listed,
    ReLU,
    Sampler,
    Training,
    Tree,
    UniformValues,
    Zipf,
    measure,
    train,
)
from toymodels.engines import ENGINES

WORDS = 2.0**32
SIGMAS = 5
TREE = Tree(children=3, depth=2, any_child=0.6)
N = 26  # two trees of 13

trees = st.builds(Tree, st.integers(1, 4), st.integers(1, 3), st.floats(0.05, 1.0))


def binary(density: float = 0.1, **settings) -> Features:
    return Features(N, density, Frequency(Zipf(0.7)), values=Binary(), firing=TREE, **settings)


def active(features: Features, samples: int = 60_000, seed: int = 0) -> np.ndarray:
    return (Sampler([features], [seed]).evaluation(0, samples)[0] != 0).numpy()


# ------------------------------------------------------------------------------------------------- the shape of trees


def test_parents_and_groups_by_hand() -> None:
    tree = Tree(children=2, depth=2)
    assert tree.size == 7
    assert tree.parents(14).tolist() == [-1, 0, 0, 1, 1, 2, 2, -1, 7, 7, 8, 8, 9, 9]
    assert tree.member(14).tolist() == [0] * 7 + [1] * 7
    chain = Tree(children=1, depth=3)
    assert chain.parents(8).tolist() == [-1, 0, 1, 2, -1, 4, 5, 6]


def test_probabilities_by_hand() -> None:
    # Roots 4/10 and 2/10 (Zipf 1); q = .6 of that on two children, .36 on their four: 7 features, 1.96 roots a tree.
    features = Features(14, 0.3 * 1.96 / 7, Frequency(Zipf(1.0)), firing=Tree(children=2, depth=2, any_child=0.6))
    tree = np.array([1, 0.3, 0.3, 0.09, 0.09, 0.09, 0.09])
    assert np.allclose(features.probabilities(), np.concatenate([0.4 * tree, 0.2 * tree]))


@given(trees, st.integers(1, 3), st.floats(0.001, 0.99), st.floats(0.2, 1.0))
def test_the_density_is_the_mean_and_the_cap_is_the_roots(tree: Tree, many: int, share: float, cap: float) -> None:
    n = many * tree.size
    most = cap * sum(tree.any_child**level for level in range(tree.depth + 1)) / tree.size
    p = Features(n, share * most, Frequency(Zipf(1.0), cap=cap), firing=tree).probabilities()
    assert p.mean() == pytest.approx(share * most)
    assert p.max() <= cap
    parents = tree.parents(n)
    of_children = np.bincount(parents[parents >= 0], p[parents >= 0], minlength=n)
    with_children = np.isin(np.arange(n), parents)
    assert np.allclose(of_children[with_children], tree.any_child * p[with_children])


# ----------------------------------------------------------------------------------- every word there is, by its edges


def by_words(features: Features) -> list[tuple[int, frozenset[int]]]:
    """How many words of the first tree make which of its features active: a list of all runs of words."""
    size = features.firing.size  # pyright: ignore[reportAttributeAccessIssue]
    low, high = (edge[:size].astype(np.int64) for edge in features.firing.intervals(features.asked_for))
    cuts = np.unique([0, 2**32, *low, *high])
    return [
        (int(end - begin), frozenset(np.flatnonzero((low <= begin) & (begin < high)).tolist()))
        for begin, end in itertools.pairwise(cuts)
    ]


@given(trees, st.floats(0.01, 0.999))
@example(Tree(children=3, depth=3, any_child=1.0), 1.0)
@example(Tree(children=1, depth=32, any_child=1.0), 0.7)
def test_every_word_makes_a_path_from_the_root_active_as_often_as_is_stated(tree: Tree, root: float) -> None:
    density = root * sum(tree.any_child**level for level in range(tree.depth + 1)) / tree.size
    features = Features(tree.size, density, firing=tree)
    parents, p = tree.parents(tree.size), features.probabilities()
    counted = np.zeros(tree.size)
    for words, on in by_words(features):
        siblings = [parents[feature] for feature in on]
        assert len(set(siblings)) == len(siblings), "two siblings at once"
        assert all(parents[feature] in on for feature in on if parents[feature] >= 0), "a child without its parent"
        counted[list(on)] += words
    assert (np.abs(counted - p * WORDS) <= 2).all()


def test_both_active_is_what_words_say() -> None:
    features = binary()
    both = np.zeros((13, 13))
    for words, on in by_words(features):
        for i, j in itertools.product(on, repeat=2):
            both[i, j] += words / WORDS
    first, second = np.divmod(np.arange(13**2), 13)
    assert np.allclose(features.both_active(first, second), both.ravel(), atol=1e-12)
    across = features.both_active(np.array([0, 4]), np.array([13, 20]))
    p = features.probabilities()
    assert np.allclose(across, [p[0] * p[13], p[4] * p[20]])


# ----------------------------------------------------------------------------------------------------------- samples


def test_a_child_fires_only_with_its_parent_and_without_its_siblings() -> None:
    on, parents = active(binary()), TREE.parents(N)
    child = parents >= 0
    assert not (on[child] & ~on[parents[child]]).any()
    for parent in np.unique(parents[child]):
        together = on[parents == parent].sum(0)
        assert together.max() == 1
        share, count = together[on[parent]].mean(), on[parent].sum()
        assert abs(share - 0.6) < SIGMAS * math.sqrt(0.6 * 0.4 / count)


def test_marginals_and_pairs_are_those_of_the_law() -> None:
    features, samples = binary(), 60_000
    on, p = active(features, samples), features.probabilities()
    assert (np.abs(on.mean(1) - p) < SIGMAS * np.sqrt(p * (1 - p) / samples)).all()
    first, second = np.divmod(np.arange(N**2), N)
    both = features.both_active(first, second)
    found = (on[:, None] & on).mean(2).ravel()
    assert (np.abs(found - both) <= SIGMAS * np.sqrt(both * (1 - both) / samples) + 1e-12).all()


def test_values_are_each_features_own() -> None:
    features = dataclasses.replace(binary(), values=UniformValues())
    x = Sampler([features], [0]).evaluation(0, 200_000)[0].double().numpy()
    both = x[:, (x[0] > 0) & (x[1] > 0)]
    assert np.abs(both[:2].mean(1) - 1 / 2).max() < SIGMAS / math.sqrt(12 * both.shape[1])
    assert abs(np.corrcoef(both[0], both[1])[0, 1]) < SIGMAS / math.sqrt(both.shape[1])


def test_a_chain_that_never_stops_is_a_correlated_group() -> None:
    x = active(Features(6, 0.2, values=Binary(), firing=Tree(children=1, depth=2, any_child=1.0)))
    assert (x.reshape(2, 3, -1) == x.reshape(2, 3, -1)[:, :1]).all()
    assert not np.array_equal(x[0], x[3])


def test_children_of_a_root_that_is_always_there_are_an_anticorrelated_group() -> None:
    # The same words and thresholds, but for the root.
    tree = Features(5, 0.2 + 0.8 / 5, values=Binary(), firing=Tree(children=4, depth=1, any_child=0.8))
    apart = Features(4, 0.2, values=Binary(), firing=Anticorrelated(1))
    on = active(tree)
    assert on[0].all()
    assert np.array_equal(on[1:], active(apart))


# ------------------------------------------------------------------------------------------- engines, batches, orders


@pytest.mark.parametrize("values", [UniformValues(), Binary(), Exponential()], ids=lambda v: v.name)
def test_a_model_sees_the_same_data_alone_and_in_any_batch(values) -> None:
    one, other = (dataclasses.replace(binary(density), values=values) for density in (0.1, 0.05))
    alone = Sampler([one], [7])
    together = Sampler([other, one, other], [1, 7, 7])
    for draw in (lambda of: of.training(5, 100), lambda of: of.evaluation(8, 100)):
        assert torch.equal(draw(alone)[0], draw(together)[1])
    turned = Sampler([one, other], [7, 1]).training(5, 100)
    assert torch.equal(turned, together.training(5, 100)[[1, 0]])


def test_training_alone_is_training_in_a_batch_bit_for_bit() -> None:
    recipe = Training(steps=30, batch=64, learning_rate=1e-2)
    es = [
        Experiment(binary(density), Bottleneck(5, ReLU(), tied=False), recipe, seed=s)
        for s, density in enumerate((0.1, 0.05, 0.12))
    ]
    trained = train(es, engine="fused")
    turned = train(es[::-1], engine="fused")
    for place, e in enumerate(es):
        (W,) = train([e], engine="fused").parameters.W_in
        assert torch.equal(W, trained.parameters.W_in[place])
        assert torch.equal(W, turned.parameters.W_in[2 - place])


def test_the_fused_engine_trains_what_autograd_trains() -> None:
    assert ENGINES["fused"].refuses([Experiment(binary(), Bottleneck(5))]) is None
    recipe = Training(steps=60, batch=64, learning_rate=1e-2)
    es = [Experiment(binary(), Bottleneck(5, ReLU(), tied=False), recipe, seed=s) for s in range(2)]
    fused, autograd = (train(es, engine=engine) for engine in ("fused", "autograd"))
    assert torch.allclose(fused.parameters.W_in, autograd.parameters.W_in, atol=1e-4)
    measures = measure(es, fused.parameters, samples=4096)
    assert not measures.failed
    assert torch.allclose(measures.features["density"], torch.tensor(binary().probabilities()).expand(2, -1))


# ---------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Features(8, 0.1, firing=Tree(2, 1, 0.5)), "depth 1 has 3 features, so n is a multiple of that, got 8"),
        (lambda: Features(6, 0.6, firing=Tree(2, 1, 0.5)), "density: expected at most 0.5, at which no P is above 1"),
        (lambda: Features(6, 0.2, Frequency(cap=0.3), firing=Tree(2, 1, 0.5)), "at most 0.15, .* above 0.3, got 0.2"),
        (lambda: Features(6, -0.1, firing=Tree(2, 1, 0.5)), "0 < density <= 1, got -0.1"),
        (lambda: Features(6, 0.1, Frequency(Listed((1.0,) * 6)), firing=Tree(2, 1, 0.5)), "expected 2 numbers, got 6"),
        (lambda: Features(3, 1e-11, firing=Tree(2, 1, 0.5)), "2.-32"),
        (lambda: Tree(0), "children: expected a whole number from 1"),
        (lambda: Tree(2, 0), "depth: expected a whole number from 1"),
        (lambda: Tree(2, 1, 0.0), "any_child: expected a number"),
        (lambda: Tree(2, 1, 1.5), "any_child: expected a number"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
