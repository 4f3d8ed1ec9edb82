"""Power: how often the battery gives which answer, on two tiers planted by degrees in the regime that it judges.

    a pool of models of the primary regime (`toymodels.hypotheses.planted`), trained at each LayerNorm eps
    K features of tier one, planted at a strength s:    K = 3, 5, 8, 13,    s = 0, .25, .5, .75, 1
    a draw: some of the pool's seeds, and the verdict on them

At s = 0 there are the trained models, which have no two tiers: *two tiers* is false there; at s = 1 *a continuum* is.
Either may be the answer of `MOST_FALSE` of the draws at most. Every planted model is measured once, so draws share
models: 12 of 32 seeds have on average 4.5 in common with 12 others. Shares are those of this pool; over fresh pools
they would spread more than those of so many independent draws.

Beside them: labels that mean nothing, the tiers of each model's features permuted among them, must support no statistic
of P2 to P4 at margin 0 in more than `MOST_PERMUTED` of the permutations; and models with two tiers whose z is rotated
(`toymodels.hypotheses.planted.turn`) must not be given two tiers more often than those of strength 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from toymodels.bottleneck import Parameters
from toymodels.hosts import Models
from toymodels.hypotheses.answers import DECIDING, LINES, Answer, Decided, at_setting, lines, over_all
from toymodels.hypotheses.arms import MAIN, Regime
from toymodels.hypotheses.battery import statistics
from toymodels.hypotheses.evidence import Evidence
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.numbers import Statistics
from toymodels.hypotheses.planted import experiments, plant, trained, turn
from toymodels.hypotheses.predictions import PREDICTIONS
from toymodels.hypotheses.side_by_side import each
from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.statistics.intervals import Status, all_of
from toymodels.hypotheses.tiers import EPS_LABELS, FEWEST_FEATURES, AnalysisSetting, Tiers
from toymodels.metrics.tiers import Tier
from toymodels.surroundings import undisturbed

MOST_FALSE = 0.05
MOST_PERMUTED = 15 / 200
JUDGED = tuple(prediction for prediction in PREDICTIONS if prediction.key in DECIDING)
"""The predictions that decide whether there are two tiers."""


@dataclass(frozen=True)
class PowerPlan:
    """What is planted, measured and drawn."""

    pool: tuple[int, ...] = tuple(range(5000, 5032))
    """the seeds of the models that are trained"""
    seeds: int = 12
    """how many of them a verdict is on"""
    draws: int = 50
    """verdicts for each K and strength"""
    sizes: tuple[int, ...] = (3, 5, 8, 13)
    """K, the features of tier one"""
    strengths: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    turned: tuple[int, ...] = (8,)
    """K of those models of full strength that are rotated as well"""
    permuted: tuple[int, ...] = (8,)
    """K of those models of full strength whose labels are permuted, as those of strength 0 are"""
    permutations: int = 200
    samples: int = 32_768
    """evaluation samples: half of them show every feature some 330 times"""
    steps: int = 6000
    """of training"""


SHORT = PowerPlan(
    tuple(range(5000, 5012)),
    draws=1,
    sizes=(3, 13),
    strengths=(0.0, 1.0),
    turned=(),
    permuted=(),
    permutations=40,
    samples=16_384,
)
"""One verdict for each K, on fewer models."""


@dataclass(frozen=True)
class PowerPoint:
    """The answers on models planted alike."""

    aligned: int
    """K"""
    strength: float
    turned: bool
    """whether z is rotated"""
    answers: Mapping[Answer, int]
    """how many draws have which answer"""
    features: Mapping[Tier, float]
    """the mean number of features of a model in a tier, at the default setting"""
    decided_by: str
    """what decided most often"""
    permuted: Mapping[str, int]
    """by statistic, in how many permutations of the labels it was supported; empty where none was made"""

    def share(self, answer: Answer) -> float:
        """The share of draws with this answer."""
        return self.answers.get(answer, 0) / sum(self.answers.values())


@dataclass(frozen=True)
class PowerTable:
    """The whole table."""

    plan: PowerPlan
    points: tuple[PowerPoint, ...]

    def at(self, strength: float, *, turned: bool = False) -> list[PowerPoint]:
        """The points of every K at one strength."""
        return [point for point in self.points if point.strength == strength and point.turned is turned]

    def rate(self, answer: Answer, strength: float, *, turned: bool = False) -> float:
        """The share of an answer among all draws at one strength; 0 where there are none."""
        points = self.at(strength, turned=turned)
        draws = sum(sum(point.answers.values()) for point in points)
        return sum(point.answers.get(answer, 0) for point in points) / draws if draws else 0.0

    @property
    def rates(self) -> Mapping[str, tuple[float, float]]:
        """By what it is of: the share of a false answer, and the largest that is allowed."""
        permuted = [count / self.plan.permutations for point in self.points for count in point.permuted.values()]
        return {
            "false two tiers at strength 0": (self.rate(Answer.TWO_TIERS, 0.0), MOST_FALSE),
            "false continuum at strength 1": (self.rate(Answer.CONTINUUM, 1.0), MOST_FALSE),
            "false two tiers, rotated": (self.rate(Answer.TWO_TIERS, 1.0, turned=True), MOST_FALSE),
            "supported with labels permuted": (max(permuted, default=0.0), MOST_PERMUTED),
        }

    @property
    def right(self) -> bool:
        """Whether every rate is as low as it must be."""
        return all(rate <= most for rate, most in self.rates.values())


Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Piece:
    """One strength for one process: the trained models by eps, and what to make of them."""

    plan: PowerPlan
    models: Mapping[str, Arrays]
    sizes: tuple[int, ...]
    """K; at strength 0 all of them, as the models are the same"""
    strength: float
    turned: bool = False


def power(plan: PowerPlan | None = None, processes: int | None = None) -> Iterator[PowerPoint]:
    """The points of the table as they come; see `each` for ``processes``."""
    plan = plan or PowerPlan()
    arrays = each(_trained, [(plan, eps) for eps in EPS_LABELS], processes)
    models: dict[str, Arrays] = dict(zip(EPS_LABELS, arrays, strict=True))
    pieces = [Piece(plan, models, plan.sizes, 0.0)] if 0.0 in plan.strengths else []
    pieces += [Piece(plan, models, (K,), s) for s in plan.strengths if s > 0 for K in plan.sizes]
    pieces += [Piece(plan, models, (K,), 1.0, turned=True) for K in plan.turned]
    for points in each(points_of, pieces, processes):
        yield from points


def _trained(of: tuple[PowerPlan, str]) -> Arrays:
    plan, eps = of
    return {name: tensor.numpy() for name, tensor in trained(plan.pool, eps, plan.steps).parameters.present().items()}


@undisturbed
def points_of(piece: Piece) -> list[PowerPoint]:
    """Plant, measure once, and draw."""
    plan, measured, evidence = piece.plan, [], None
    for eps, arrays in piece.models.items():
        parameters = Parameters(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        arm = Models(experiments(plan.pool, eps, plan.steps), parameters)
        arm = plant(arm, piece.sizes[0], piece.strength)
        found = gather(Regime("planted", {MAIN: turn(arm, 1.0) if piece.turned else arm}), eps, plan.samples)
        evidence = evidence or found
        measured.append(statistics(found))
    assert evidence is not None
    asked = piece.strength == 0 or (piece.strength == 1 and piece.sizes[0] in plan.permuted and not piece.turned)
    permuted = permuted_labels(evidence, plan.permutations) if asked else {}
    sizes = measured[0].at[AnalysisSetting(measured[0].eps)].own.sizes
    features = {tier: float(count.double().mean()) for tier, count in sizes.items()}
    points = []
    for K in piece.sizes:
        rng = np.random.default_rng([K, round(100 * piece.strength), piece.turned])
        chosen = [np.sort(rng.permutation(len(plan.pool))[: plan.seeds]) for _ in range(plan.draws)]
        said = [decide([each_eps.of_seeds(places.tolist()) for each_eps in measured]) for places in chosen]
        answers = Counter(decided.answer for decided in said)
        by = Counter(decided.by for decided in said).most_common(1)[0][0]
        points.append(PowerPoint(K, piece.strength, piece.turned, dict(answers), features, by, permuted))
    return points


@undisturbed
def decide(measured: Sequence[Statistics]) -> Decided:
    """The answer that `toymodels.hypotheses.battery.judge` gives, of statistics at several eps, and nothing else."""
    at = {}
    for of_eps in measured:
        for setting in of_eps.at:
            found = {LINES: lines(of_eps, setting)}
            statuses: dict[str, Status] = dict.fromkeys(DECIDING, Status.UNDETERMINED)
            if all(finding.status is Status.SUPPORTED for finding in found[LINES].values()):
                for p in JUDGED:
                    said = p.findings(of_eps, setting)
                    statuses[p.key] = all_of([said[kind].status for kind in p.decisive])
            at[setting] = at_setting(found, statuses)
    return over_all(at)


@undisturbed
def permuted_labels(evidence: Evidence, permutations: int) -> dict[str, int]:
    """By decisive statistic of P2 to P4, how often it is supported at margin 0 where each model's tiers are permuted.

    As many features in either tier of each model, drawn from all that are in one; at the default setting.
    """
    tiers, rng = Tiers.of(evidence, AnalysisSetting(evidence.eps)), np.random.default_rng(21)
    found = {f"{p.key} {kind}": 0 for p in JUDGED for kind in p.decisive}
    drawn = [_permuted(tiers, rng) for _ in range(permutations)]
    for p in JUDGED:
        for of, numbers in zip(drawn, p.of_arm_for_each(evidence.arms[MAIN][p.key], drawn), strict=True):
            enough = (of.sizes[Tier.NEURON] >= FEWEST_FEATURES) & (of.sizes[Tier.HIDDEN] >= FEWEST_FEATURES)
            for kind in p.decisive:
                said = from_seeds(kind, numbers[kind], 0.0, enough)
                found[f"{p.key} {kind}"] += said.status is Status.SUPPORTED
    return found


def _permuted(tiers: Tiers, rng: np.random.Generator) -> Tiers:
    in_a_tier, neuron = tiers.neuron | tiers.hidden, torch.zeros_like(tiers.neuron)
    for model, there in enumerate(in_a_tier.numpy()):
        neuron[model, rng.permutation(np.flatnonzero(there))[: int(tiers.neuron[model].sum())]] = True
    return Tiers(neuron, in_a_tier & ~neuron)
