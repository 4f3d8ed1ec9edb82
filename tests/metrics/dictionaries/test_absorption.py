"""Absorption: dictionaries built by hand that absorb fully, not at all and partly, and what must not matter."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

import toymodels as tm
from toymodels import Binary, Features, Frequency, Listed, Sampler, Tree, UniformValues
from toymodels.hosts import Models
from toymodels.metrics.dictionaries import (
    Absorption,
    Dictionary,
    TopK,
    absorption,
    beside_parents,
    fit,
    matching,
    of_wrong_parents,
)
from toymodels.rotations import haar
from toymodels.values import Values

N, SAMPLES = 6, 8_000
TREE = Tree(children=2, depth=1, any_child=0.7)
PARENTS = TREE.parents(N)  # -1, 0, 0, -1, 3, 3
CHILDREN = [1, 2, 4, 5]


def data(values: Values = Binary(), seeds: Sequence[int] = (0, 1)) -> Tensor:
    features = Features(N, 0.2, values=values, firing=TREE)
    return Sampler([features] * len(seeds), list(seeds)).evaluation(0, SAMPLES)


def dictionary(encoder: Tensor, decoder: Tensor, n_models: int = 2) -> Dictionary:
    """Rows of E and columns of D, the same for every model and without biases; columns as long as they are."""
    E, D = (each.float().repeat(n_models, 1, 1) for each in (encoder, decoder))
    zeros = torch.zeros(n_models, E.shape[1]), torch.zeros(n_models, D.shape[1])
    return Dictionary(D, E, *zeros, torch.ones(n_models))


def built(share: float | list[float], n_models: int = 2) -> Dictionary:
    """Of orthonormal features: each child's latent carries a ``share`` of its parent, whose latent leaves it that."""
    carried = torch.as_tensor(share).expand(len(CHILDREN))
    E, D = torch.eye(N), torch.eye(N)
    for child, of_child in zip(CHILDREN, carried.tolist(), strict=True):
        D[PARENTS[child], child] += of_child
        E[PARENTS[child], child] -= of_child
    return dictionary(E, D, n_models)


def scored(of: Dictionary, x: Tensor, directions: Tensor | None = None) -> Absorption:
    directions = torch.eye(N) if directions is None else directions
    directions = directions.expand(len(x), -1, -1)
    return absorption(of, directions @ x, x != 0, directions, PARENTS)


def test_a_dictionary_of_the_true_directions_absorbs_nothing():
    x, of = data(), built(0.0)
    assert torch.equal(of.decode(of.encode(x)), x)
    found = scored(of, x)
    for each in (found.fraction, found.full, found.silent, found.silent_alone):
        assert (each[:, CHILDREN] == 0).all()
        assert each[:, [0, 3]].isnan().all()
    assert found.mean.tolist() == [0, 0]


def test_full_absorption_scores_one_though_the_reconstruction_is_perfect():
    x, of = data(), built(1.0)
    assert torch.equal(of.decode(of.encode(x)), x)
    found = scored(of, x)
    for each in (found.fraction, found.full, found.silent):
        assert (each[:, CHILDREN] == 1).all()
    assert (found.silent_alone[:, CHILDREN] == 0).all()
    assert found.mean.tolist() == [1, 1]


@given(st.floats(0.05, 0.95))
def test_what_a_childs_latent_carries_is_the_fraction(share: float):
    x, of = data(), built(share)
    torch.testing.assert_close(of.decode(of.encode(x)), x)
    found = scored(of, x)
    torch.testing.assert_close(found.fraction[:, CHILDREN], torch.full((2, 4), share, dtype=torch.float64))
    assert (found.silent[:, CHILDREN] == 0).all()  # the parent's latent fires still, only less
    assert (found.full[:, CHILDREN] == 0).all()


def test_each_child_has_its_own_fraction():
    found = scored(built([1.0, 0.0, 0.25, 0.5]), data())
    assert found.fraction[0, CHILDREN].tolist() == pytest.approx([1, 0, 0.25, 0.5])
    assert found.full[0, CHILDREN].tolist() == [1, 0, 0, 0]
    assert found.mean[0].item() == pytest.approx(1.75 / 4)


def test_uniform_values_have_the_closed_form():
    # The parent's latent says (x_p - x_c)_+, of mean 1/6, the child's x_c, of mean 1/2; and is silent half the time.
    found = scored(built(1.0, 4), data(UniformValues(), seeds=range(4)))
    each = SAMPLES * 0.2 / 1.7 * 3 * 0.35  # samples with a child active
    assert (found.fraction[:, CHILDREN[:2]] - 0.75).abs().max() < 5 * 0.5 / each**0.5
    assert (found.full[:, CHILDREN[:2]] - 0.5).abs().max() < 5 * 0.5 / each**0.5


def test_a_latent_that_misses_its_parent_alone_too_is_told_from_absorption():
    of = built(0.0)
    assert of.encoder is not None
    assert of.encoder_bias is not None
    of.encoder_bias[:, 0] = -2  # never on, but for one thing
    of.encoder[:, 0, 3] = 3  # with the other root, of which it says nothing
    found = scored(of, data())
    assert (found.fraction[:, CHILDREN] == 0).all()  # nobody speaks for the parent in its place
    assert (found.full[:, CHILDREN] == 0).all()
    assert (found.silent[:, 1] > 0.5).all()
    assert (found.silent_alone[:, 1] > 0.5).all()


def overlapping(seed: int, share: float) -> tuple[Absorption, Tensor]:
    """Of six directions in four dimensions, of different lengths. Latents point along them, a child's along a ``share``
    of its parent's too, and are encoded from x itself, which stands below what they point into. And which latent is
    matched to each feature."""
    noise = torch.Generator().manual_seed(seed)
    directions = torch.randn(4, N, generator=noise) * torch.linspace(0.5, 2, N)
    E, D = torch.eye(N), directions.clone()
    E[PARENTS[CHILDREN], CHILDREN] = -share
    D[:, CHILDREN] += share * directions[:, PARENTS[CHILDREN]]
    into = torch.cat([directions, torch.zeros(N, N)])
    of = dictionary(torch.cat([torch.zeros(N, 4), E], 1), torch.cat([D, torch.zeros(N, N)]), 1)
    x = data(seeds=(0,))
    a = torch.cat([directions, torch.eye(N)]) @ x
    torch.testing.assert_close(of.decode(of.encode(a))[:, :4], a[:, :4], rtol=1e-4, atol=1e-4)
    return absorption(of, a, x != 0, into[None], PARENTS), matching(of.decoder, into[None]).latent[0]


@given(st.integers(0, 99))
def test_true_directions_absorb_nothing_however_they_overlap(seed: int):
    found, _ = overlapping(seed, 0.0)
    assert (found.fraction[:, CHILDREN] < 1e-4).all()
    assert (found.full[:, CHILDREN] == 0).all()


@given(st.integers(0, 99), st.sampled_from([0.5, 1.0]))
def test_latents_that_carry_overlapping_parents_are_seen_through(seed: int, share: float):
    found, latent = overlapping(seed, share)
    assume(latent.tolist() == [*range(N)])  # else a child's own latent is nearer to another feature
    assert found.fraction[0, CHILDREN].tolist() == pytest.approx([share] * 4, abs=1e-4)
    assert found.full[0, CHILDREN].tolist() == [share == 1] * 4


@given(st.permutations(range(N)), st.integers(0, 50), st.floats(0.1, 10))
def test_order_and_scale_of_latents_rotation_and_unit_do_not_matter(order: list[int], seed: int, scale: float):
    x = data(UniformValues(), seeds=(seed,))
    of = built([1.0, 0.3, 0.8, 0.0])[:1]
    assert of.encoder is not None
    whole = scored(of, x)
    each = scale * torch.linspace(0.5, 2, N)
    Q = haar(np.array([seed]), N, 0)[0].float()
    assert of.encoder is not None
    moved = Dictionary(
        Q @ (of.decoder * each)[:, :, order],
        (of.encoder / each[:, None])[:, order] @ Q.T,
        of.encoder_bias,
        of.decoder_bias,
        torch.full((1,), scale),
    )
    directions = scale * Q[None]
    other = absorption(moved, directions @ x, x != 0, directions, PARENTS)
    for name in ("fraction", "full", "silent", "silent_alone", "mean"):
        assert torch.allclose(getattr(other, name), getattr(whole, name), atol=2e-3, equal_nan=True), name


def test_permuting_features_permutes_their_scores():
    x, of, order = data(), built([1.0, 0.3, 0.8, 0.0]), np.array([4, 0, 5, 2, 3, 1])
    whole = scored(of, x)
    place = np.argsort(order)
    parents = np.array([-1 if PARENTS[i] < 0 else place[PARENTS[i]] for i in order])
    directions = torch.eye(N).expand(2, -1, -1)
    turned = absorption(of, x, x[:, order] != 0, directions[:, :, order], parents)
    assert torch.allclose(turned.fraction, whole.fraction[:, order], equal_nan=True)
    assert torch.equal(turned.silent_alone.isnan(), whole.silent_alone[:, order].isnan())


def test_models_are_scored_apart():
    x, of = data(), built([1.0, 0.3, 0.8, 0.0])
    both = scored(of, x)
    for model in range(2):
        alone = scored(of[model : model + 1], x[model : model + 1])
        for name in ("fraction", "full", "silent", "silent_alone", "mean"):
            assert torch.allclose(getattr(alone, name)[0], getattr(both, name)[model], equal_nan=True)


def test_what_is_not_there_is_undefined():
    x = data()
    of = built(1.0)
    assert of.encoder_bias is not None
    of.encoder_bias[:, 0] = -9  # the first root's latent is dead, and no other is left for it
    found = scored(of, x)
    assert found.fraction[:, [1, 2]].isnan().all()
    assert (found.fraction[:, [4, 5]] == 1).all()
    never = x.clone()
    never[:, 4] = 0
    assert scored(built(1.0), never).fraction[0, [1, 2, 4, 5]].isnan().tolist() == [False, False, True, False]
    same = torch.eye(N)
    same[:, 1] = same[:, 0]
    assert scored(built(0.0), x, same).fraction[:, 1].isnan().all()
    nothing = scored(built(0.0), torch.zeros_like(x))
    assert nothing.counted.tolist() == [0, 0]
    assert all(torch.isnan(each).all() for each in dataclasses.astuple(nothing)[:-1])


def test_parents_of_another_length_or_beyond_the_features_are_refused():
    x = data()
    directions = torch.eye(N).expand(2, -1, -1)
    for parents in (PARENTS[:3], np.array([-1, 0, 0, -1, 3, 6]), np.array([-2, 0, 0, -1, 3, 3])):
        with pytest.raises(ValueError, match="parents: expected a feature or -1 for each of 6"):
            absorption(built(0.0), x, x != 0, directions, parents)
    for no_numbers in (PARENTS.astype(float), PARENTS > 0):
        with pytest.raises(ValueError, match="parents: expected a feature or -1 for each of 6"):
            absorption(built(0.0), x, x != 0, directions, no_numbers)


def test_parents_are_a_tensor_an_array_or_a_list():
    x, of = data(), built([1.0, 0.3, 0.8, 0.0])
    directions = torch.eye(N).expand(2, -1, -1)
    for parents in (torch.from_numpy(PARENTS), torch.from_numpy(PARENTS).int(), PARENTS.tolist()):
        found = absorption(of, x, x != 0, directions, parents)
        torch.testing.assert_close(found.fraction, scored(of, x).fraction, rtol=0, atol=0, equal_nan=True)


def test_the_null_gives_children_the_parent_of_another_tree():
    x, of = data(), built(1.0)
    directions = torch.eye(N).expand(2, -1, -1)
    found = of_wrong_parents(of, x, x != 0, directions, PARENTS)
    swapped = absorption(of, x, x != 0, directions, np.array([-1, 3, 3, -1, 0, 0]))
    for name in ("fraction", "full", "silent", "silent_alone", "mean", "counted"):
        assert torch.equal(getattr(found, name).nan_to_num(9), getattr(swapped, name).nan_to_num(9)), name
    assert scored(of, x).mean.tolist() == [1, 1]
    assert found.mean.tolist() == [0, 0]  # no latent carries a parent of another tree
    assert found.full[:, CHILDREN].tolist() == [[0] * 4] * 2
    with pytest.raises(ValueError, match="of 2 parents at depth 0 none is another's after 2 steps"):
        of_wrong_parents(of, x, x != 0, directions, PARENTS, shift=2)
    with pytest.raises(ValueError, match="parents: expected a feature or -1"):
        of_wrong_parents(of, x, x != 0, directions, np.array([-1, 0, 0, -1, 3, 6]))
    with pytest.raises(ValueError, match="its own ancestor"):
        of_wrong_parents(of, x, x != 0, directions, np.array([1, 0, 0, -1, 3, 3]))


def test_the_null_keeps_to_the_depth_of_a_parent():
    tree = Tree(children=2, depth=2, any_child=0.7)
    parents = tree.parents(14)
    x = Sampler([Features(14, 0.2, values=Binary(), firing=tree)], [0]).evaluation(0, 2_000)
    eye = torch.eye(14)
    of = Dictionary(eye[None], eye[None])
    found = of_wrong_parents(of, x, x != 0, eye[None], parents)
    assert found.counted.item() == 1
    assert found.fraction[0, torch.from_numpy(parents < 0)].isnan().all()


def test_the_share_of_children_that_are_counted():
    of = built(1.0)
    assert of.encoder_bias is not None
    of.encoder_bias[:, 0] = -9  # the first root has no latent: its two children drop out
    assert scored(of, data()).counted.tolist() == [0.5, 0.5]
    assert scored(built(0.0), data()).counted.tolist() == [1, 1]


def test_dictionaries_of_trees_absorb_and_those_of_independent_features_do_not():
    """Of the same marginals, in the same superposition: 12 features, whose directions are random, in 9 dimensions."""
    n, seeds = 12, [0, 1, 2, 3]
    tree = Tree(children=3, depth=1, any_child=0.9)
    on_tree = Features(n, 0.1, values=Binary(), firing=tree)
    p = Frequency(Listed(tuple(on_tree.probabilities().tolist())))
    apart = Features(n, 0.1, p, values=Binary())
    noise = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(len(seeds), 9, n, generator=noise), dim=1)
    found, nulls = [], []
    for features in (on_tree, apart):
        x = Sampler([features] * len(seeds), seeds).evaluation(0, 24_000)
        a = directions @ x
        of = fit(a[:, :, :16_000], TopK(1), n, seeds, steps=600)
        found.append(absorption(of, a[:, :, 16_000:], x[:, :, 16_000:] != 0, directions, tree.parents(n)))
        nulls.append(of_wrong_parents(of, a[:, :, 16_000:], x[:, :, 16_000:] != 0, directions, tree.parents(n)))
    trees, independent = found
    assert (trees.mean > 0.5).all()
    assert (independent.mean < 0.3).all()
    assert (trees.full.nanmean(1) > independent.full.nanmean(1) + 0.3).all()
    assert (trees.full.nanmean(1) > nulls[0].full.nanmean(1) + 0.3).all()


def test_directions_beside_parents_are_what_a_child_adds_to_its_path() -> None:
    """By hand, of a tree of three levels; where the layer is linear a feature does the same anywhere."""
    features = tm.Features(7, 0.1, values=tm.UniformValues(), firing=tm.Tree(children=2, depth=2))
    parents = np.array([-1, 0, 0, 1, 1, 2, 2])
    assert (tm.Tree(children=2, depth=2).parents(7) == parents).all()
    for activation in (tm.Linear(), tm.SoLU()):
        e = tm.Experiment(features, tm.Bottleneck(5, activation), tm.Training(steps=1, batch=4))
        host = Models([e], tm.train([e]).parameters)
        found = beside_parents(host, "post", parents)
        assert beside_parents(host, "post", torch.from_numpy(parents)).equal(found)
        assert torch.allclose(found[:, :, 0], host.directions("post")[:, :, 0], atol=1e-6)
        x = torch.zeros(1, 7, 2)
        x[0, [0, 2], :] = 0.5
        x[0, 5, 1] = 0.5
        post = host.taps(x).post
        assert torch.allclose(found[0, :, 5], post[0, :, 1] - post[0, :, 0], atol=1e-6)
        assert torch.allclose(found, host.directions("post"), atol=1e-5) == (activation == tm.Linear())
