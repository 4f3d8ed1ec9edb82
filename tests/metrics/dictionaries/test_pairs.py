"""Pairs of latents and features: brute force over permutations, and what has no direction is no pair."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from toymodels.metrics.dictionaries import matching, nearest

ANGLE = torch.arange(5) * 2 * math.pi / 5
PENTAGON = torch.stack([ANGLE.cos(), ANGLE.sin()])[None]
"""Directions [model 1, hidden 2, feature 5]."""


@pytest.mark.parametrize(("n", "latents"), [(4, 4), (3, 5), (5, 3)])
def test_matching_is_the_best_of_all_permutations(n, latents):
    torch.manual_seed(n)
    decoder, truth = torch.randn(3, 3, latents), torch.randn(3, 3, n)
    match = matching(decoder, truth)
    for m in range(3):
        oriented = torch.nn.functional.cosine_similarity(
            truth[m].double()[:, :, None], decoder[m].double()[:, None, :], dim=0
        )
        cosines = oriented.abs()
        wide = cosines if n <= latents else cosines.T
        best = max(
            sum(wide[i, j].item() for i, j in enumerate(p))
            for p in itertools.permutations(range(wide.shape[1]), len(wide))
        )
        assert match.cosine[m].sum().item() == pytest.approx(best)
        pairs = [(i, j) for i, j in enumerate(match.latent[m].tolist()) if j >= 0]
        assert len({j for _, j in pairs}) == len(pairs) == min(n, latents)
        assert all(match.cosine[m, i].item() == pytest.approx(cosines[i, j].item()) for i, j in pairs)
        assert match.max_cosine[m].tolist() == pytest.approx(oriented.amax(1).tolist())
        assert match.max_absolute_cosine[m].tolist() == pytest.approx(cosines.amax(1).tolist())


def test_sign_and_length_do_not_matter_to_the_match():
    torch.manual_seed(0)
    truth = torch.randn(1, 5, 4)
    match = matching(-3e-9 * truth.flip(2), truth)
    assert match.latent.tolist() == [[3, 2, 1, 0]]
    assert match.cosine.tolist()[0] == pytest.approx([1] * 4)


def test_what_has_no_direction_is_matched_to_nothing():
    truth = torch.eye(3)[None].clone()
    truth[0, :, 1] = 0
    decoder = torch.eye(3)[None].clone()
    decoder[0, :, 2] = torch.nan
    match = matching(decoder, truth)
    assert match.latent[0, 0] == 0
    assert match.latent[0, 1] == -1
    assert match.latent[0, 2] == 1  # the only one left, at a right angle
    assert match.cosine.tolist() == [[1, 0, 0]]
    assert match.max_cosine.tolist() == match.max_absolute_cosine.tolist() == [[1, 0, 0]]
    nothing = matching(torch.zeros(1, 3, 2), truth)
    assert nothing.latent.tolist() == [[-1, -1, -1]]
    assert nothing.cosine.tolist() == nothing.max_cosine.tolist() == [[0, 0, 0]]


def test_a_mirrored_pentagon_is_a_tenth_turn_away():
    """Its directions negated lie between the true ones: the nearest is at 36 degrees, its mirror image at 0."""
    match = matching(-PENTAGON, PENTAGON)
    assert match.max_cosine[0].tolist() == pytest.approx([math.cos(math.radians(36))] * 5)
    assert match.max_absolute_cosine[0].tolist() == pytest.approx([1] * 5)
    assert matching(PENTAGON, PENTAGON).max_cosine[0].tolist() == pytest.approx([1] * 5)


def test_a_dead_latent_is_no_right_angle_where_all_living_ones_point_away():
    truth = torch.tensor([[[1.0], [0.0]]])
    decoder = torch.tensor([[[-1.0, -0.6, 0.0], [0.0, 0.8, 0.0]]])  # cosines -1, -.6, and a column of zeros
    match = matching(decoder, truth)
    assert match.max_cosine.tolist() == [[pytest.approx(-0.6)]]
    assert match.max_absolute_cosine.tolist() == [[1]]


def test_of_signed_features_a_latent_must_point_along_the_side():
    """The sides of a linear layer's features are opposite: by |cosine| either latent would do for either side."""
    truth = torch.cat([torch.eye(2), -torch.eye(2)], 1)[None]
    order = [2, 3, 0, 1]  # latents point along -e_0, -e_1, e_0, e_1
    match = matching(truth[:, :, order], truth, signed=True)
    assert match.latent.tolist() == [order]
    assert match.cosine.tolist() == [[1] * 4]
    one_way = matching(truth[:, :, :2], truth, signed=True)
    assert one_way.cosine.tolist() == [[1, 1, 0, 0]]
    assert one_way.latent.tolist() == [[0, 1, -1, -1]]


def test_the_nearest_feature_of_each_latent():
    eye = torch.eye(3)[None]
    latents = torch.tensor([[0.9, -0.9, 0.1, 0.0, 0.2], [0.1, 0.1, 0.9, 0.0, -0.5], [0, 0, 0, 0, 0.4]])[None]
    assert nearest(latents, eye).tolist() == [[0, 0, 1, -1, 1]]
    assert nearest(latents, eye, signed=True).tolist() == [[0, 1, 1, -1, 2]]
    assert nearest(latents, 0 * eye).tolist() == [[-1] * 5]
