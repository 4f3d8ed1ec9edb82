"""A free lunch: fronts and slopes of clouds whose answer is known, and how often one is claimed where there is none."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toymodels.hypotheses.free_lunch import (
    MORE,
    NO_MORE,
    any_free,
    front,
    lunch,
    lunches,
    near_best,
    share_on_front,
    slopes,
)
from toymodels.hypotheses.statistics.intervals import Status

NAN, INF = math.nan, math.inf
SEEDS = 8


def cloud(means: list[tuple[float, float]], seed: int, *, spread: tuple[float, float] = (2e-3, 1.0)) -> list[Tensor]:
    """Losses and counts [arm, seed] about these means; part of what varies over seeds is shared by the arms."""
    chance = torch.Generator().manual_seed(seed)

    def about(place: int) -> Tensor:
        mean = torch.tensor([each[place] for each in means], dtype=torch.float64)[:, None]
        own = torch.randn(len(means), SEEDS, generator=chance, dtype=torch.float64)
        shared = torch.randn(1, SEEDS, generator=chance, dtype=torch.float64)
        return mean + spread[place] * (own + 3 * shared)

    return [about(0), about(1)]


def offers(losses: Tensor, counts: Tensor, arm: int = 0) -> list[Status]:
    return [offer.status for offer in lunches(losses, {"count": counts}, arm).values()]


def test_the_front_of_a_cloud_made_by_hand() -> None:
    #                      best loss, beaten by 0, trade, beaten by 2, most, its twin, nothing
    losses = torch.tensor([0.50, 0.51, 0.52, 0.53, 0.55, 0.55, NAN])
    counts = torch.tensor([10.0, 10.0, 14.0, 14.0, 20.0, 20.0, 30.0])
    assert front(losses, counts).tolist() == [True, False, True, False, True, True, False]
    assert front(torch.tensor([0.5]), torch.tensor([3.0])).tolist() == [True]
    stacked = front(torch.stack([losses, losses]), torch.stack([counts, -counts]))
    assert stacked[0].tolist() == front(losses, counts).tolist()
    assert stacked[1].tolist() == [True, *[False] * 6]


def test_a_front_does_not_hang_on_order_or_units() -> None:
    torch.manual_seed(0)
    losses, counts = torch.rand(30), torch.rand(30)
    order = torch.randperm(30)
    assert torch.equal(front(losses[order], counts[order]), front(losses, counts)[order])
    assert torch.equal(front(7 * losses + 1, 0.1 * counts - 4), front(losses, counts))
    brute = [not any(a <= x and b >= y and (a < x or b > y) for a, b in zip(losses, counts, strict=True))
             for x, y in zip(losses, counts, strict=True)]  # fmt: skip
    assert front(losses, counts).tolist() == brute


def test_how_often_an_arm_is_on_the_front() -> None:
    losses = torch.tensor([[0.5] * 4, [0.6] * 4, [0.4, 0.4, 0.7, 0.7]], dtype=torch.float64)
    counts = torch.tensor([[5.0] * 4, [4.0] * 4, [4.0] * 4], dtype=torch.float64)
    sure, never, sometimes = share_on_front(losses, counts).tolist()
    assert (sure, never) == (1, 0)
    # Its mean loss is below .5 if three or four of four draws are .4: (4 + 1) / 16.
    assert sometimes == pytest.approx(5 / 16, abs=0.05)
    losses[2, 0] = NAN
    assert share_on_front(losses, counts)[2] < 0.1
    assert share_on_front(torch.full((2, 3), NAN), torch.ones(2, 3)).isnan().all()


def test_slopes_are_features_per_hundredth_of_loss() -> None:
    losses = torch.tensor([[0.50, 0.51, 0.53, NAN], [0.50, 0.51, 0.53, 0.9], [0.5, 0.501, 0.5, NAN]])
    line = 4 + 300 * (losses - 0.5)
    line[1, 3] = NAN
    assert slopes(losses.double(), line.double())[:2].tolist() == pytest.approx([3.0, 3.0], rel=1e-5)
    assert slopes(losses, line)[2].isnan()  # losses this near have no slope
    assert slopes(torch.full((3,), NAN), torch.ones(3)).isnan()
    x, y = torch.rand(12, dtype=torch.float64), torch.rand(12, dtype=torch.float64)
    expected = torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], 1), y[:, None]).solution[0, 0]
    assert slopes(x, y).item() == pytest.approx(0.01 * expected.item())


def test_candidates_near_the_best() -> None:
    of = near_best(torch.tensor([0.500, 0.5049, 0.506, NAN, 0.4995]), torch.tensor([8.0, 15.0, 40.0, 3.0, 9.0]))
    assert (of.candidates, of.near, of.at_best, of.least, of.most) == (5, 2, 9, 8, 9)
    wider = near_best(torch.tensor([0.500, 0.5049, 0.506]), torch.tensor([8.0, 15.0, 40.0]))
    assert (wider.near, wider.least, wider.most) == (2, 8, 15)
    assert math.isnan(near_best(torch.tensor([NAN]), torch.tensor([1.0])).most)


def test_a_clear_lunch_is_free_and_a_paid_one_is_not() -> None:
    #         what one has, free, paid with loss, too few more, less of all
    losses, counts = cloud([(0.5, 10), (0.499, 18), (0.52, 18), (0.5, 11), (0.53, 5)], 0, spread=(5e-4, 0.5))
    found = lunches(losses, {"count": counts}, 0)
    denied = Status.NOT_SUPPORTED
    assert [offer.status for offer in found.values()] == [Status.SUPPORTED, denied, denied, denied]
    assert any_free(found) is Status.SUPPORTED
    assert any_free({k: found[k] for k in (2, 3, 4)}) is denied
    assert any_free({}) is Status.UNDETERMINED
    assert found[1].saved.mean == pytest.approx((losses[0] - losses[1]).mean().item())
    assert found[1].more["count"].mean == pytest.approx((counts[1] - counts[0]).mean().item())
    assert found[1].saved.margin == -NO_MORE
    assert found[1].more["count"].margin == MORE


def test_a_lunch_at_one_cut_alone_is_none() -> None:
    losses, counts = cloud([(0.5, 10), (0.5, 18)], 1, spread=(5e-4, 0.5))
    ways = {"at .5": counts, "at .7": counts.flip(0)}
    assert lunch(losses[1], losses[0], {"at .5": counts[1]}, {"at .5": counts[0]}).status is Status.SUPPORTED
    both = lunch(losses[1], losses[0], {n: c[1] for n, c in ways.items()}, {n: c[0] for n, c in ways.items()})
    assert both.status is Status.NOT_SUPPORTED
    assert both.more["at .5"].status is Status.SUPPORTED


def test_what_all_seeds_share_changes_nothing_and_few_seeds_say_nothing() -> None:
    losses, counts = cloud([(0.5, 10), (0.5, 16), (0.51, 30)], 2)
    shared = torch.randn(SEEDS, dtype=torch.float64)
    assert offers(losses + shared, counts - 40 * shared) == offers(losses, counts)
    assert offers(losses[:, :3], counts[:, :3]) == [Status.UNDETERMINED] * 2
    losses[1] = NAN
    assert offers(losses, counts)[0] is Status.UNDETERMINED


def wrongly(means: list[tuple[float, float]], runs: int, status: Status) -> float:
    """How often some arm is said to be, or each not to be, a free lunch for whoever has the first."""
    said = 0
    for seed in range(runs):
        losses, counts = cloud(means, seed + 1000)
        said += any_free(lunches(losses, {"count": counts}, 0)) is status
    return said / runs


PAID = [(0.5, 10.0), (0.5 + NO_MORE, 16.0), (0.52, 22.0), (0.5, 10 + MORE)]
"""Nobody offers a free lunch, and two arms are as near to one as can be: exactly at a margin."""


def test_no_free_lunch_is_said_to_be_one_in_at_most_a_twentieth() -> None:
    assert wrongly(PAID, 60, Status.SUPPORTED) <= 0.05


@pytest.mark.slow
def test_no_free_lunch_is_said_to_be_one_in_at_most_a_twentieth_of_many() -> None:
    assert wrongly(PAID, 1000, Status.SUPPORTED) <= 0.05


def test_a_free_lunch_is_denied_in_at_most_a_twentieth() -> None:
    assert wrongly([(0.5, 10), (0.5 + NO_MORE, 10 + MORE)], 60, Status.NOT_SUPPORTED) <= 0.05
