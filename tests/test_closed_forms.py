"""Closed forms: a constant belongs to the function it was worked out for, and is never inherited by another."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import toymodels as tm


@dataclasses.dataclass(frozen=True)
class Rectified(tm.FeatureTarget):
    """t = max(x, 0), whose variance nobody states."""

    name = "rectified"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()


@dataclasses.dataclass(frozen=True)
class Doubled(tm.AbsoluteValue):
    """t = 2 |x|, of a class that states the variance of |x|."""

    name = "doubled"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x.abs()


@dataclasses.dataclass(frozen=True)
class Stated(Doubled):
    """The same, which says its variance."""

    name = "stated"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x.abs()

    def variance(self, features: tm.Features) -> np.ndarray:
        return np.full(features.n, 7.0)


@dataclasses.dataclass(frozen=True)
class Renamed(tm.AbsoluteValue):
    """|x| under another name: the same function, the same variance."""

    name = "renamed"


@dataclasses.dataclass(frozen=True)
class Square(tm.UniformValues):
    """v = u^2, of a class that states the moments of u."""

    name = "square"

    def from_uniform(self, v: torch.Tensor) -> torch.Tensor:
        return v * v.abs()


@dataclasses.dataclass(frozen=True)
class Half(tm.Binary):
    """1/2 when active, of a class that states the moments of 1."""

    name = "half"

    def from_uniform(self, v: torch.Tensor) -> torch.Tensor:
        return v / 2


@dataclasses.dataclass(frozen=True)
class OwnScale(tm.UniformValues):
    """v = scale u, whose mean is a field of its own."""

    scale: float = 3.0
    mean: float = 1.5
    name = "own_scale"

    def from_uniform(self, v: torch.Tensor) -> torch.Tensor:
        return self.scale * v


SIGNED = tm.Features(4, 0.5, signed=True)
# Var max(x, 0) = P / 6 - P^2 / 16; Var 2 |x| = 4 (P / 3 - P^2 / 4), with P = 1/2.
RECTIFIED, DOUBLED = 0.5 / 6 - 0.25 / 16, 4 * (0.5 / 3 - 0.25 / 4)


def experiment(target: tm.Target, features: tm.Features = SIGNED) -> tm.Experiment:
    bottleneck = tm.Bottleneck(4, tm.ReLU(), tied=False, output=tm.Linear())
    return tm.Experiment(features, bottleneck, tm.Training(steps=100, batch=64), target)


@pytest.mark.parametrize("target, variance", [(Rectified(), RECTIFIED), (Doubled(), DOUBLED)])
def test_a_target_without_a_closed_form_of_its_own_is_measured(target: tm.FeatureTarget, variance: float) -> None:
    assert target.variance(SIGNED) is None
    e = experiment(target)
    assert e.best_constant_loss() == pytest.approx(4 * variance, rel=0.01)
    measures = tm.measure([e], tm.train([e]).parameters, samples=50_000)
    fraction, loss = measures.models["loss_fraction"].item(), measures.models["loss"].item()
    assert fraction == pytest.approx(loss / (4 * variance), rel=0.02)
    assert fraction == pytest.approx(1 - measures.features["r2"].mean().item(), rel=0.02)


def test_a_closed_form_beside_its_function_is_taken_and_kept_where_the_function_is() -> None:
    stated, renamed = Stated().variance(SIGNED), Renamed().variance(SIGNED)
    assert stated is not None
    assert stated.tolist() == [7.0] * 4
    assert np.array_equal(renamed, tm.AbsoluteValue().variance(SIGNED))


@pytest.mark.parametrize(
    "law, mean, second_moment",
    [(Square(), 1 / 3, 1 / 5), (Half(), 1 / 2, 1 / 4), (OwnScale(), 1.5, 3.0), (tm.UniformValues(), 1 / 2, 1 / 3)],
)
def test_moments_of_a_value_law_are_its_own(law: tm.Values, mean: float, second_moment: float) -> None:
    assert law.mean == pytest.approx(mean, rel=1e-12)
    assert law.second_moment == pytest.approx(second_moment, rel=1e-12)


@pytest.mark.parametrize("law", [tm.FoldedNormal(), tm.Exponential()])
def test_integrated_moments_are_the_closed_forms(law: tm.Values) -> None:
    assert law._integral(1) == pytest.approx(law.mean, rel=1e-6)
    assert law._integral(2) == pytest.approx(law.second_moment, rel=3e-6)


def test_loss_fractions_of_an_own_value_law_are_right() -> None:
    # Learning rate 0 and a read-out of 0 predict the constant 0: the loss is E x^2 = P / 5 a feature.
    features = tm.Features(4, 0.5, values=Square())
    e = tm.Experiment(features, tm.Bottleneck(2, output_bias=False), tm.Training(steps=1, batch=4))
    nothing = tm.Parameters(W_in=torch.zeros(1, 2, 4))
    measures = tm.measure([e], nothing, samples=100_000)
    variance = 0.5 / 5 - (0.5 / 3) ** 2
    assert e.best_constant_loss() == pytest.approx(4 * variance)
    assert measures.models["loss_fraction"].item() == pytest.approx(0.1 / variance, rel=0.02)


@dataclasses.dataclass(frozen=True)
class Alternating(tm.Correlated):
    """The first half of a group fires with P, the other half with the rest of the words."""

    name = "alternating"

    def intervals(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        edge = np.rint(p * 2.0**32).astype(np.uint64)
        first = np.arange(len(p)) % (len(p) // self.groups) < len(p) // self.groups // 2
        nothing, all_ = np.zeros_like(edge), np.full_like(edge, 2**32)
        return np.where(first, nothing, edge), np.where(first, edge, all_)


def test_the_marginals_of_a_firing_law_are_what_it_draws() -> None:
    features = tm.Features(4, 0.2, firing=Alternating(groups=2))
    assert features.probabilities().tolist() == pytest.approx([0.2, 0.8, 0.2, 0.8])
    x = tm.Sampler([features], [0]).training(0, 40_000)
    assert (x[0] != 0).double().mean(1).tolist() == pytest.approx([0.2, 0.8, 0.2, 0.8], abs=0.02)
    e = tm.Experiment(features, tm.Bottleneck(2, output_bias=False), tm.Training(steps=1, batch=4))
    measures = tm.measure([e], tm.Parameters(W_in=torch.zeros(1, 2, 4)), samples=100_000)
    p = features.probabilities()
    fraction = (p / 3).sum() / (p / 3 - p**2 / 4).sum()
    assert measures.models["loss_fraction"].item() == pytest.approx(fraction, rel=0.02)


def test_firing_laws_of_ours_draw_exactly_what_is_asked_for() -> None:
    for firing in (tm.Independent(), tm.Correlated(2), tm.Anticorrelated(2), tm.Together(((0, 3),))):
        features = tm.Features(4, 0.1, firing=firing)
        assert features.probabilities() is features.asked_for
    one = tm.Features(4, 0.25, tm.Frequency(tm.Zipf(1.0)), firing=tm.One())
    assert one.probabilities() is one.asked_for


@dataclasses.dataclass(frozen=True)
class Shifted(tm.UniformValues):
    """U(1/2, 1), of a function that is 1/2 for an inactive feature."""

    name = "shifted"

    def from_uniform(self, v: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.5 * v


def test_a_value_law_that_wakes_inactive_features_is_refused() -> None:
    with pytest.raises(ValueError, match="values: from_uniform of Shifted must be odd and 0 for 0"):
        tm.Features(4, 0.1, values=Shifted())
