"""P7: weak activations of a neuron belong to other features than its main one.

    u = |tap_k(x) - tap_k(0)|, main feature = argmax_i s_ki, the size of k's response to i alone
    the examples with u > 1e-6 of its largest in ten classes of equal count, from the weakest to the strongest
    S_k(class) = share of the class's activity, sum of u, in examples where the main feature is inactive
    statistic = mean over live neurons of (S of the weaker half - S of the strongest class),
                minus each LN-only control's

at ``mid``, where activations are interpreted; the same at ``post`` stands beside it. Elhage et al. 2022, *Softmax
Linear Units*, figure 9, show this of one neuron. Margin .1. It is about neurons, so it needs no tiers. Of signed
features s_ki is the mean of both sides (`toymodels.metrics.responses`), and a feature is active with either sign.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import forward
from toymodels.hypotheses.arms import Arm
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.prediction import Numbers, OwnTable, Prediction
from toymodels.hypotheses.statistics.contrasts import beyond_controls, mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.monosemanticity import main_feature
from toymodels.metrics.recovery import UNMOVED
from toymodels.metrics.responses import response_sizes_of
from toymodels.training.experiment import sampler

CLASSES = 10
SAMPLES = 8192
TAPS = ("mid", "post")


class WeakActivity(Prediction):
    """The prediction that a neuron's weak activations are not of the feature that moves it most."""

    key = "P7"
    claim = "Weak activations of a neuron belong to other features"
    figure = "p7_weak_activity"
    margin = 0.1
    decisive = ("mid",)
    own_table = OwnTable("evidence_neurons", {"neuron": np.int32, "class": np.int8}, ("others_mid", "others_post"))

    def measure(self, arm: Arm, samples: SplitSamples) -> Quantities:
        """The `shares` of activity without the main feature, on the second half of the samples."""
        return shares(arm, samples.middle, samples.last)

    def numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        """The `statistic` of every seed and control, by tap."""
        del tiers
        return {tap: statistic(evidence.of(self.key), tap) for tap in TAPS}

    def own_rows(self, measured: Quantities) -> dict[str, np.ndarray]:
        """A row a model x neuron x class of activation, from 1, the weakest."""
        place, neuron, rank = np.indices(measured["mid"].shape).reshape(3, -1)
        of_taps = {f"others_{tap}": measured[tap].numpy().ravel() for tap in TAPS}
        return {"place": place, "neuron": neuron, "class": rank + 1, **of_taps}


def shares(arm: Arm, first: int, last: int) -> Quantities:
    """S_k by tap, [model, hidden, class] from the weakest to the strongest; NaN for a dead neuron."""
    samples = min(SAMPLES, last - first)
    parts = [_shares(part, first, samples) for part in arm.slices(samples)]
    return {tap: torch.cat([part[tap] for part in parts]) for tap in TAPS}


def _shares(arm: Arm, first: int, samples: int) -> Quantities:
    e, p = arm.experiments[0], arm.parameters
    x = sampler(arm.experiments).evaluation(first, samples).to(p.W_in.dtype)
    main = main_feature(response_sizes_of(arm.experiments, p))
    inactive = (x == 0).gather(1, main.clamp(min=0)[:, :, None].expand(-1, -1, samples))
    taps, rest = forward(e.bottleneck, p, x), forward(e.bottleneck, p, torch.zeros_like(x[:, :, :1]))
    found = {}
    for tap in TAPS:
        u, order = (getattr(taps, tap) - getattr(rest, tap)).abs().sort(dim=2)
        still = (u <= UNMOVED * u[:, :, -1:]).sum(2, keepdim=True)
        edges = still + (samples - still) * torch.arange(CLASSES + 1) // CLASSES
        whole, other = (_between(edges, values) for values in (u, torch.where(inactive.gather(2, order), u, 0.0)))
        found[tap] = torch.where((whole > 0) & (main >= 0)[:, :, None], (other / whole).clamp(0, 1), torch.nan).float()
    return found


def _between(edges: Tensor, values: Tensor) -> Tensor:
    """Sums of ``values`` along the last axis between consecutive ``edges``."""
    upto = torch.nn.functional.pad(values.double().cumsum(2), (1, 0))
    return upto.gather(2, edges).diff(dim=2)


def statistic(measured: Mapping[str, Quantities], tap: str) -> Tensor:
    """The statistic of every seed at a tap, [model, control]."""

    def weak_minus_strong(of: Quantities) -> Tensor:
        share = of[tap]
        half = CLASSES // 2
        weak = mean_over(share[:, :, :half], torch.ones_like(share[:, :, :half], dtype=torch.bool), dim=2)
        difference = weak - share[:, :, -1]
        return mean_over(difference, torch.ones_like(difference, dtype=torch.bool))

    return beyond_controls(measured, weak_minus_strong)
