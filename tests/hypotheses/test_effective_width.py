"""Effective width: a power law's inverse in closed form, SciPy's isotonic fit, symmetries, and how often it covers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from toymodels.hypotheses.effective_width import (
    Losses,
    Reference,
    Smaller,
    complete,
    equivalent_widths,
    interval,
    non_increasing,
)
from toymodels.hypotheses.statistics.intervals import Status, against, resamples

WIDTHS = np.array([6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192])
OF_ARM = np.array([12, 24, 48, 96])
SEEDS = 8


def law(widths: np.ndarray, a: float = 2.0, b: float = 0.4) -> np.ndarray:
    return a * np.asarray(widths, float) ** -b


def noisy(rng: np.random.Generator, losses: np.ndarray, common: np.ndarray, noise: float) -> Losses:
    """Losses [seed, width] with noise that a seed has in all of its models, and noise of each model's own."""
    log = np.log(losses) + common[:, None] + noise * rng.standard_normal((len(common), len(losses)))
    return Losses(OF_ARM if len(losses) == len(OF_ARM) else WIDTHS, np.exp(log))


def every_seed(losses: np.ndarray, widths: np.ndarray) -> Losses:
    return Losses(widths, np.tile(losses, (SEEDS, 1)))


def test_of_a_power_law_the_width_is_its_inverse() -> None:
    reference = Reference(every_seed(law(WIDTHS), WIDTHS))
    losses = np.array([0.6, 0.5, 0.4, 0.3])
    found = reference.smaller(every_seed(losses, OF_ARM))
    w = (losses / 2.0) ** (-1 / 0.4)
    assert found.x[0] == pytest.approx(1 - w / OF_ARM)
    assert found.x == pytest.approx(np.tile(found.x[0], (len(found.x), 1)))
    for place in range(len(w)):
        assert (found.at(place).low, found.at(place).high) == pytest.approx([1 - w[place] / OF_ARM[place]] * 2)


@pytest.mark.parametrize("share", [0.5, 0.7, 1.0, 1.9])
def test_an_arm_that_is_the_reference_at_another_width_is_found_there(share: float) -> None:
    rng = np.random.default_rng(0)
    reference = noisy(rng, law(WIDTHS), rng.normal(0, 0.05, SEEDS), 0.0)
    arm = Losses(OF_ARM, law(OF_ARM * share) * (reference.losses / law(WIDTHS))[:, :1])
    found = Reference(reference).smaller(arm)
    assert found.x == pytest.approx(1 - share, abs=1e-9)  # in every resample, as seeds are paired
    assert found.trend().mean == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(0.001, 0.5), min_size=10, max_size=10), st.integers(0, 99))
def test_the_reference_against_itself_is_no_smaller_where_it_falls(falls: list[float], seed: int) -> None:
    log = np.cumsum([0.0, *falls])
    rng = np.random.default_rng(seed)
    of = Losses(WIDTHS, np.exp(-log + 1e-5 * rng.standard_normal((3, len(WIDTHS)))))
    assert Reference(of).smaller(of).x[0] == pytest.approx(0, abs=1e-9)


def test_the_reference_against_itself_is_no_smaller_on_a_flat_stretch_of_its_fit() -> None:
    losses = law(WIDTHS)
    losses[3:6] = losses[3]
    losses[-2:] = losses[-2]
    found = Reference(every_seed(losses, WIDTHS)).smaller(every_seed(losses, WIDTHS))
    assert found.x == pytest.approx(0, abs=1e-12)
    level = every_seed(losses[[3, 3, 3, 3]], OF_ARM)  # widths 16 to 32 are as good: the nearest is meant
    assert Reference(every_seed(losses, WIDTHS)).smaller(level).x[0] == pytest.approx(
        1 - np.array([16, 24, 32, 32]) / OF_ARM
    )
    beside = every_seed(losses[[3, 3, 3, 3]] * np.array([1 + 1e-6, 1 - 1e-6, 1 + 1e-6, 1 - 1e-6]), OF_ARM)
    w = OF_ARM * (1 - Reference(every_seed(losses, WIDTHS)).smaller(beside).x[0])
    assert w == pytest.approx([16, 32, 16, 32], rel=1e-4)


def test_rows_are_fitted_as_scipy_fits_them_and_only_those_that_rise() -> None:
    rng = np.random.default_rng(1)
    rows = np.concatenate([rng.standard_normal((50, 7)).cumsum(1), -np.arange(7.0)[None]])
    fitted = non_increasing(rows)
    for row, of in zip(rows, fitted, strict=True):
        assert of == pytest.approx(isotonic_regression(row, increasing=False).x, abs=1e-12)
    assert (np.diff(fitted, axis=1) <= 0).all()
    assert (fitted[-1] == rows[-1]).all()


def test_the_fit_of_many_seeds_is_that_of_their_means() -> None:
    """Least squares over all models, brute force over where the levels begin, gives no better fit."""
    log = np.random.default_rng(2).standard_normal((4, 5))
    fitted = non_increasing(log.mean(0, keepdims=True))[0]
    best = np.inf
    for cuts in itertools.product([False, True], repeat=4):
        level = np.cumsum([0, *cuts])
        means = np.array([log[:, level == each].mean() for each in range(level[-1] + 1)])
        if (np.diff(means) <= 0).all():
            best = min(best, ((log - means[level]) ** 2).sum())
    assert ((log - fitted) ** 2).sum() == pytest.approx(best)


@given(st.floats(1e-6, 1e6), st.integers(0, 1000))
def test_units_of_loss_and_the_order_of_seeds_change_nothing(unit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.1, 3)
    reference, arm = noisy(rng, law(WIDTHS), common, 0.1), noisy(rng, law(OF_ARM * 0.7), common, 0.1)
    found = Reference(reference).smaller(arm).x
    scaled = Reference(Losses(WIDTHS, unit * reference.losses)).smaller(Losses(OF_ARM, unit * arm.losses)).x
    turned = Reference(Losses(WIDTHS, reference.losses[::-1])).smaller(Losses(OF_ARM, arm.losses[::-1])).x
    assert scaled == pytest.approx(found, rel=1e-6, abs=1e-6)
    assert turned[0] == pytest.approx(found[0], rel=1e-6, abs=1e-6)


def test_units_of_width_change_nothing() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.1, SEEDS)
    reference, arm = noisy(rng, law(WIDTHS), common, 0.02), noisy(rng, law(OF_ARM * 0.7), common, 0.02)
    wider = Reference(Losses(10 * WIDTHS, reference.losses)).smaller(Losses(10 * OF_ARM, arm.losses))
    assert wider.x == pytest.approx(Reference(reference).smaller(arm).x)
    assert wider.trend().mean == pytest.approx(Reference(reference).smaller(arm).trend().mean)


def test_what_is_out_of_range_is_censored_on_its_side_and_never_extrapolated() -> None:
    reference = Reference(every_seed(law(WIDTHS), WIDTHS))
    found = reference.smaller(every_seed(law(np.array([5.9, 24, 100, 193])), OF_ARM))
    assert found.x[0, 0] == 1
    assert found.x[0, 3] == -np.inf
    assert found.inside.tolist() == [False, True, True, False]
    assert (found.least[0], found.most[0]) == (1 - 192 / 12, 1 - 6 / 12)
    assert found.mean().mean == pytest.approx(np.mean([1 - 6 / 12, 1 - 24 / 24, 1 - 100 / 48, 1 - 192 / 96]))
    assert found.trend().mean == pytest.approx((1 - 100 / 48) - (1 - 24 / 24))
    at_the_ends = reference.smaller(every_seed(law(np.array([6, 192, 6, 192])), OF_ARM))
    assert at_the_ends.x[0] == pytest.approx(1 - np.array([6, 192, 6, 192]) / OF_ARM)


def test_an_end_of_an_interval_is_censored_where_resamples_are() -> None:
    rng = np.random.default_rng(3)
    arm = noisy(rng, law(np.array([6.3, 12, 24, 48])), np.zeros(SEEDS), 0.08)
    found = Reference(every_seed(law(WIDTHS), WIDTHS)).smaller(arm)
    assert found.at(0).high == 1
    assert 0 < found.at(0).low < found.at(0).mean < 1
    assert found.inside.tolist() == [False, True, True, True]


def of_two_seeds(widths: list[int], x: list[float]) -> Smaller:
    """x of an arm whose reference has models of 2 to 128 neurons."""
    m = np.array(widths)
    return Smaller(m, np.array([x] * 2), 1 - 128 / m, 1 - 2 / m, 2)


def test_the_trend_is_the_slope_on_doublings() -> None:
    assert of_two_seeds([12, 24, 48, 96], [0.1, 0.2, 0.3, 0.4]).trend().mean == pytest.approx(0.1)
    widths, x = [8, 12, 16, 64], [0.3, 0.1, 0.7, 0.2]
    assert of_two_seeds(widths, x).trend().mean == pytest.approx(np.polyfit(np.log2(widths), x, 1)[0])
    assert of_two_seeds([*widths, 128], [*x, -np.inf]).trend().mean == pytest.approx(
        np.polyfit(np.log2(widths), x, 1)[0]
    )
    assert np.isnan(of_two_seeds([8], [0.5]).trend().mean)


def test_what_one_arm_has_less_than_another_is_of_widths_that_both_have() -> None:
    mine, theirs = of_two_seeds([8, 16, 32], [0.1, 0.1, -np.inf]), of_two_seeds([16, 32, 64], [0.4, 0.3, 0.2])
    assert mine.less_than(theirs).mean == pytest.approx(((0.4 - 0.1) + (0.3 + 3)) / 2)  # at least: 128 is 300 % more
    assert np.isnan(of_two_seeds([9], [0.1]).less_than(theirs).mean)


def test_intervals_leave_out_what_student_does_of_normal_values() -> None:
    """Of a mean of n values the expanded percentile interval is about Student's: within a tenth of its width."""
    rng = np.random.default_rng(5)
    values, ratios = rng.standard_normal((60, SEEDS)), []
    for each in values:
        found = interval(np.concatenate([[each.mean()], each[resamples(SEEDS)].mean(1)]), SEEDS)
        half = 2.365 * each.std(ddof=1) / np.sqrt(SEEDS)
        ratios.append((found.high - found.low) / (2 * half))
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_few_seeds_have_no_interval_and_too_few_to_say_anything() -> None:
    found = interval(np.array([0.5, 0.4, 0.6]), 3)
    assert np.isnan([found.low, found.high]).all()
    assert against(found.low, found.high, 0) is Status.UNDETERMINED


def test_seeds_that_lack_a_model_are_not_complete() -> None:
    losses = np.ones((4, 3))
    losses[1, 2] = np.nan
    assert complete([losses, np.ones((4, 2))]).tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("widths", "losses", "says"),
    [
        ([8, 4], np.ones((2, 2)), "ascending"),
        ([4, 8], np.ones((2, 3)), "of 2 widths"),
        ([4, 8], np.zeros((2, 2)), "above 0"),
        ([4, 8], np.full((2, 2), np.nan), "finite"),
    ],
)
def test_what_are_no_losses_is_refused(widths: list[int], losses: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Losses(np.array(widths), losses)


def test_a_reference_of_one_width_and_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 widths"):
        Reference(Losses(np.array([4]), np.ones((2, 1))))
    with pytest.raises(ValueError, match="8 seeds"):
        Reference(every_seed(law(WIDTHS), WIDTHS)).smaller(Losses(OF_ARM, np.ones((3, 4))))


def covered(data_sets: int, seed: int) -> tuple[float, float, float]:
    """How often intervals of x at a width, of its mean and of its trend have the truth, of arms that are as good as
    reference models 35 % smaller; noise as in trained models, and a reference that in some resamples rises."""
    rng, hits = np.random.default_rng(seed), np.zeros(3)
    for _ in range(data_sets):
        common = rng.normal(0, 0.02, SEEDS)
        reference = Reference(noisy(rng, law(WIDTHS), common, 0.03))
        found = reference.smaller(noisy(rng, law(OF_ARM * 0.65), common, 0.03))
        for place, (of, truth) in enumerate([(found.at(2), 0.35), (found.mean(), 0.35), (found.trend(), 0.0)]):
            hits[place] += of.low <= truth <= of.high
    return tuple((hits / data_sets).tolist())


def test_intervals_cover_about_as_often_as_they_say() -> None:
    assert all(0.85 <= share <= 1 for share in covered(60, 0))


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say() -> None:
    """1,000 data sets: a share of .95 is known to .007."""
    assert all(0.92 <= share <= 0.98 for share in covered(1000, 1))


def test_rows_of_equivalent_widths_are_of_their_own_fit() -> None:
    fitted = np.log([[4.0, 2.0, 1.0], [8.0, 4.0, 2.0]])
    found = equivalent_widths(np.array([1, 2, 4]), fitted, np.log([[2.0], [2.0]]), np.array([3]))
    assert found[:, 0] == pytest.approx([2, 4])


def test_rounding_takes_nothing_out_of_range() -> None:
    widths, fitted = np.array([2, 4, 8]), np.array([[1.0, 0.5, 0.5]])
    found = equivalent_widths(widths, fitted, np.array([[1.0 + 1e-14, 0.5 - 1e-14, 0.5 + 1e-14]]), np.array([3, 6, 5]))
    assert found[0] == pytest.approx([2, 6, 5])
