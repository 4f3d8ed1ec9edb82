"""Chance levels: closed forms, against drawn dictionaries, and what random dictionaries do score."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import gammaln

from toymodels.metrics.dictionaries import Dictionary, by_chance, matching, score
from toymodels.metrics.dictionaries.chance import largest_cosine


@pytest.mark.parametrize("n_hidden", [1, 2, 3, 8, 200])
def test_one_random_direction_has_the_cosine_of_the_closed_form(n_hidden):
    """E|t| = Gamma(m/2) / (sqrt(pi) Gamma((m + 1)/2)), and E t = 0."""
    expected = math.exp(gammaln(n_hidden / 2) - gammaln((n_hidden + 1) / 2)) / math.sqrt(math.pi)
    found = largest_cosine(n_hidden, 1)
    assert found.absolute == pytest.approx(expected, rel=1e-9)
    assert found.oriented == 0
    assert found.positive == pytest.approx(expected / 2, rel=1e-9)


def test_in_a_plane_and_on_a_line_the_largest_is_known():
    """On a line cosines are signs. In a plane the angle is uniform, and the lesser of two has density 2 (1 - s)."""
    assert largest_cosine(1, 3) == pytest.approx((1 - 2 * 2**-3, 1, 1 - 2**-3))
    assert largest_cosine(2, 2).absolute == pytest.approx(8 / math.pi**2, rel=1e-9)
    assert largest_cosine(5, 0) == (0, 0, 0)


@pytest.mark.parametrize(("n_hidden", "latents"), [(2, 3), (4, 9), (16, 40)])
def test_the_largest_of_many_is_that_of_drawn_ones(n_hidden, latents):
    g = torch.Generator().manual_seed(0)
    drawn = torch.randn(20_000, n_hidden, latents, generator=g)
    cosine = (drawn / drawn.norm(dim=1, keepdim=True))[:, 0]
    found = largest_cosine(n_hidden, latents)
    for mean, of in zip(found, (cosine, cosine.abs(), cosine.clamp(min=0)), strict=True):
        largest = of.amax(1)
        assert mean == pytest.approx(largest.mean().item(), abs=4 * largest.std().item() / math.sqrt(20_000))


@pytest.mark.parametrize("signed", [False, True])
def test_random_dictionaries_score_their_chance_level(signed):
    g = torch.Generator().manual_seed(1)
    truth = torch.randn(1, 6, 10, generator=g)
    truth[:, :, 7] = 0  # a feature without direction
    found = by_chance(truth, 12, signed=signed, draws=200)
    decoders = torch.randn(2000, 6, 12, generator=g)
    match = matching(decoders, truth.expand(2000, -1, -1), signed=signed)
    for level, scores in ((found.mcc, match.cosine), (found.mmcs, match.max_cosine)):
        each = scores.mean(1)
        assert level.item() == pytest.approx(each.mean().item(), abs=4 * each.std().item() / math.sqrt(200))
    exact = match.max_absolute_cosine.mean(1)
    assert found.mmcs_absolute.item() == pytest.approx(
        exact.mean().item(), abs=4 * exact.std().item() / math.sqrt(2000)
    )
    s = score(Dictionary(decoders[:3]), torch.zeros(3, 6, 4), torch.zeros(3, 10, 4) > 0, truth.expand(3, -1, -1))
    assert s.mcc_by_chance.unique().numel() == s.mmcs_by_chance.unique().numel() == 1  # a level of the truth alone


@pytest.mark.parametrize("signed", [False, True])
def test_of_a_single_feature_the_matching_by_chance_is_exact(signed):
    truth = torch.zeros(1, 5, 3)
    truth[0, 2, 1] = 4.0
    exact, drawn = (by_chance(each, 7, signed=signed, draws=2000).mcc.item() for each in (truth, truth[:, :, [1, 1]]))
    assert exact == pytest.approx(largest_cosine(5, 7)[2 if signed else 1] / 3)
    noise = torch.randn(4000, 5, 7, generator=torch.Generator().manual_seed(0))
    found = matching(noise, truth.expand(4000, -1, -1), signed=signed).cosine.mean(1)
    assert exact == pytest.approx(found.mean().item(), abs=4 * found.std().item() / math.sqrt(4000))
    assert drawn < exact * 3  # two features share the latents out


def test_chance_is_seeded_and_turns_with_nothing():
    truth = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(2))
    first, again = by_chance(truth, 12), by_chance(truth[:, :, torch.randperm(10)] * 3, 12)
    for name in ("mcc", "mmcs", "mmcs_absolute"):
        torch.testing.assert_close(getattr(first, name), getattr(again, name))
