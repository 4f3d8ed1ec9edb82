"""The ridge probe: how much of a feature an affine read-out of a whole tap could say.

    w, b = argmin E (t_i - w.a - b)^2 + penalty s |w|^2,    s the mean variance of a neuron of the tap

in closed form from moments (Hoerl and Kennard 1970, *Ridge Regression*), for every model, feature and penalty of
`PENALTIES` at once. The penalty is chosen, feature by feature, on samples the weights were not fitted on, and R^2 is
of samples neither has seen: with four folds, each in turn is judged by weights of two others, chosen on the third.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.metrics.moments import Moments, together

PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Probe:
    """Affine read-outs of one tap: w.a + b."""

    tap: str
    weights: Tensor
    """[model, hidden, feature]"""
    bias: Tensor
    """[model, feature]"""

    def squared_error(self, moments: Moments) -> Tensor:
        """E (t - w.a - b)^2 on other samples: float64 [model, feature]."""
        w, b, t, a = self.weights, self.bias, moments.t, moments.tap[self.tap]
        quadratic = (w * (moments.tap_tap[self.tap] @ w)).sum(1)
        linear = (w * moments.tap_target[self.tap]).sum(1)
        mean = (w * a[:, :, None]).sum(1)
        return (moments.tt - 2 * b * t - 2 * linear + 2 * b * mean + b.square() + quadratic).clamp(min=0)


def ridge(moments: Moments, tap: str, penalties: Sequence[float] = PENALTIES) -> list[Probe]:
    """The probe of each penalty, fitted on these samples.

    In the terms of others, alpha = penalty s samples. A tap that does not vary is answered by the mean.
    """
    a, t = moments.tap[tap], moments.t
    # One model's rubbish must not keep the others from being measured: eigh refuses a batch for one matrix of it.
    covariance = torch.nan_to_num(moments.tap_tap[tap] - a[:, :, None] * a[:, None, :], posinf=0.0, neginf=0.0)
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    scale = values.mean(1, keepdim=True)
    turned = vectors.transpose(1, 2) @ (moments.tap_target[tap] - a[:, :, None] * t[:, None, :])
    probes = []
    for penalty in penalties:
        inverse = torch.where(scale > 0, 1 / torch.where(scale > 0, values + penalty * scale, 1.0), 0.0)
        weights = vectors @ (inverse[:, :, None] * turned)
        probes.append(Probe(tap, weights, t - (weights * a[:, :, None]).sum(1)))
    return probes


def chosen(probes: Sequence[Probe], held_out: Moments) -> Probe:
    """Of one probe a penalty, for every feature the one whose error on other samples is smallest."""
    best = torch.stack([probe.squared_error(held_out) for probe in probes]).argmin(0)
    weights = torch.stack([probe.weights for probe in probes])
    bias = torch.stack([probe.bias for probe in probes])
    of_weights = best[None, :, None, :].expand(1, -1, weights.shape[2], -1)
    return Probe(probes[0].tap, weights.gather(0, of_weights)[0], bias.gather(0, best[None])[0])


def ridge_r2(moments: Moments, tap: str) -> Tensor:
    """R^2 of the ridge probe at ``tap``: float64 [model, feature].

    NaN for a feature never seen, and where samples are too few for folds (fewer than about 200).
    """
    folds, variance = moments.folds, moments.target_variance
    if len(folds) < 3:
        return torch.full_like(variance, torch.nan)
    error = torch.zeros_like(variance)
    for k, judged in enumerate(folds):
        rest = [folds[(k + step) % len(folds)] for step in range(1, len(folds))]
        probe = chosen(ridge(together(rest[1:]), tap), rest[0])
        error += probe.squared_error(judged) * (judged.samples / moments.samples)
    return torch.where(variance > 0, 1 - error / variance, torch.nan)


def hiddenness(ridge_r2_mid: Tensor, best_neuron_r2_mid: Tensor) -> Tensor:
    """What an affine read-out of all of ``mid`` says of a feature beyond its best neuron, as a difference of R^2."""
    return ridge_r2_mid - best_neuron_r2_mid
