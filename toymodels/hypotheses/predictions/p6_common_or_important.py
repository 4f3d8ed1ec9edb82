"""P6: which features become neuron-aligned, the most common or the most important?

    logit P(feature i of a model is in the neuron tier | in a tier) = c + beta_f log P_i + beta_I log I_i

over the features of all seeds that are in a tier, the intercept free and 1/2 |beta|^2 added to the negative
log-likelihood (a ridge of 1; le Cessie and van Houwelingen 1992), so that perfect separation has an answer.
Coefficients are per log unit.
The answer has two statistics, beta_f and beta_f - beta_I, with intervals from leaving out one seed at a time
(jackknife, Student's t; Efron 1982): the fit is of all seeds together, so there is no number a seed to resample.
*Supported* means: the common ones, and common more than important. Margin 0.25 a log unit for the difference.

The neuron tier is of features that one neuron stands for over the data (`toymodels.hypotheses.tiers`), whatever their
columns of weights look like.

Only where frequency and importance vary, and independently (importance shuffled by another permutation a seed);
elsewhere undetermined. Most published work confounds the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import expit
from scipy.stats import t as student
from torch import Tensor

from toymodels.hypotheses.evidence import Evidence
from toymodels.hypotheses.numbers import AtSetting, Numbers, Statistics
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.statistics.findings import Finding, from_jackknife, unknown
from toymodels.hypotheses.statistics.intervals import FEWEST_SEEDS
from toymodels.hypotheses.tiers import Tiers

RIDGE = 1.0
LARGEST_CORRELATION = 0.3
"""The correlation of log-frequency and log-importance over all seeds beyond which they count as confounded."""


class CommonOrImportant(Prediction):
    """The prediction that frequency puts a feature into a neuron. It measures nothing itself: tiers are enough."""

    key = "P6"
    claim = "The common features become aligned, more than the important ones"
    figure = "p6_common_or_important"
    margin = 0.25
    decisive = ("difference", "frequency")

    def numbers(self, evidence: Evidence, tiers: Sequence[Tiers]) -> Sequence[Numbers]:
        """None: the fit is of all seeds together."""
        del evidence
        return [{} for _ in tiers]

    def pooled(self, statistics: Statistics, at: AtSetting) -> Mapping[str, Finding]:
        """The `coefficients` over all seeds, or why there are none."""
        margins = {"difference": self.margin, "frequency": 0.0, "importance": 0.0}
        reason = unanswerable(statistics.covariates)
        if reason is not None:
            return {kind: unknown(kind, margin, reason) for kind, margin in margins.items()}
        found = coefficients(statistics.covariates, at.own.neuron, at.own.hidden)
        return {kind: from_jackknife(kind, *found[kind], margin) for kind, margin in margins.items()}


def unanswerable(of: np.ndarray) -> str | None:
    """Why these covariates cannot tell frequency from importance, or None."""
    flat = of.reshape(-1, 2)
    flat = flat[np.isfinite(flat).all(1)]
    for k, name in enumerate(("frequency", "importance")):
        if len(flat) == 0 or np.ptp(flat[:, k]) < 1e-9:
            return f"{name} does not vary"
    together = abs(np.corrcoef(flat.T)[0, 1])
    return f"frequency and importance are correlated ({together:.2f})" if together > LARGEST_CORRELATION else None


def fit(x: np.ndarray, y: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """(c, beta) of the penalised logistic regression of y (0 or 1) [row] on x [row, covariate], by Newton's method."""
    design = np.column_stack([np.ones(len(x)), x - x.mean(0)])
    penalty = np.diag([0.0, *[ridge] * x.shape[1]])
    share = np.clip(y.mean(), 1e-6, 1 - 1e-6)
    beta = np.array([math.log(share / (1 - share)), *[0.0] * x.shape[1]])

    def cost(b: np.ndarray) -> float:
        eta = design @ b
        return float(np.logaddexp(0, eta).sum() - y @ eta + 0.5 * b @ penalty @ b)

    for _ in range(100):
        p = expit(design @ beta)
        gradient = design.T @ (p - y) + penalty @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty + 1e-9 * np.eye(len(beta))
        step, size = np.linalg.solve(hessian, gradient), 1.0
        while cost(beta - size * step) > cost(beta) and size > 1e-6:
            size /= 2
        beta = beta - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return np.array([beta[0] - beta[1:] @ x.mean(0), *beta[1:]])


def coefficients(of: np.ndarray, neuron: Tensor, hidden: Tensor) -> dict[str, tuple[float, float, float, int]]:
    """(estimate, low, high, seeds) of beta_f, beta_I and their difference; NaN where a tier is empty or seeds few."""
    label, used = neuron.numpy(), (neuron | hidden).numpy() & np.isfinite(of).all(2)
    seeds = [k for k in range(len(of)) if used[k].any()]

    def estimate(chosen: list[int]) -> np.ndarray:
        where = np.zeros_like(used)
        where[chosen] = used[chosen]
        y = label[where].astype(np.float64)
        if len(y) == 0 or y.min() == y.max():
            return np.full(3, np.nan)
        _, frequency, importance = fit(of[where], y)
        return np.array([frequency, importance, frequency - importance])

    whole = estimate(seeds)
    spread = np.full(3, np.nan)
    if len(seeds) >= FEWEST_SEEDS:
        left_out = np.array([estimate([s for s in seeds if s != out]) for out in seeds])
        error = np.sqrt((len(seeds) - 1) / len(seeds) * ((left_out - left_out.mean(0)) ** 2).sum(0))
        spread = error * student.ppf(0.975, len(seeds) - 1)
    names = ("frequency", "importance", "difference")
    return {n: (float(w), float(w - s), float(w + s), len(seeds)) for n, w, s in zip(names, whole, spread, strict=True)}
