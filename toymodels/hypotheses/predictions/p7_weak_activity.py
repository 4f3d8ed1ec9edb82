"""P7: weak activations of a neuron belong to other features than its main one.

    u = |Delta_k(x)|, Delta(x) = tap(x) - tap(0);  main feature = argmax_i s_ki, the size of k's response to i alone
    the examples with u > 1e-6 of its largest in ten classes of equal count, from the weakest to the strongest
    S_k(class) = share of the class's activity, sum of u, in examples where the main feature is inactive
    statistic = mean over live neurons of (S of the weaker half - S of the strongest class)

at ``mid``, where activations are interpreted: there, where a LayerNorm follows, Delta is about its median over neurons
(`toymodels.metrics.gauge`), since what all neurons do alike is no neuron's activity. The same at ``post`` stands beside
it, as it is. Margin .1, and ``mid`` decides. Below 0: it is the strong activations that belong to other features.

Elhage et al. 2022, *Softmax Linear Units*, figure 9, show this of one neuron. It is about neurons, so it needs no
tiers. Of signed features s_ki is the mean of both sides (`toymodels.responses`), and a feature is active with
either sign.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from toymodels.hosts import Host
from toymodels.hypotheses.evidence import Quantities, SplitSamples
from toymodels.hypotheses.prediction import OwnTable, Prediction
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.gauge import gauged
from toymodels.metrics.monosemanticity import main_feature
from toymodels.metrics.recovery import UNMOVED

CLASSES = 10
SAMPLES = 4096
TAPS = ("mid", "post")


class WeakActivity(Prediction):
    """The prediction that a neuron's weak activations are not of the feature that moves it most."""

    key = "P7"
    claim = "Weak activations of a neuron belong to other features"
    figure = "p7_weak_activity"
    margin = 0.1
    decisive = ("mid",)
    own_table = OwnTable("evidence_neurons", {"neuron": np.int32, "class": np.int8}, ("others_mid", "others_post"))

    def measure(self, arm: Host, samples: SplitSamples) -> Quantities:
        """The `shares` of activity without the main feature, on the second half of the samples."""
        return shares(arm, samples.middle, samples.last)

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """`weak_minus_strong` at either tap, [model] each."""
        del tiers
        return {tap: weak_minus_strong(measured[tap]) for tap in TAPS}

    def own_rows(self, measured: Quantities) -> dict[str, np.ndarray]:
        """A row a model x neuron x class of activation, from 1, the weakest."""
        place, neuron, rank = np.indices(measured["mid"].shape).reshape(3, -1)
        of_taps = {f"others_{tap}": measured[tap].numpy().ravel() for tap in TAPS}
        return {"place": place, "neuron": neuron, "class": rank + 1, **of_taps}


def shares(host: Host, first: int, last: int) -> Quantities:
    """S_k by tap, [model, hidden, class] from the weakest to the strongest, on the CPU; NaN for a dead neuron."""
    samples = min(SAMPLES, last - first)
    parts = [_shares(part, first, samples) for part in host.slices(samples)]
    return {tap: torch.cat([part[tap] for part in parts]) for tap in TAPS}


def _shares(host: Host, first: int, samples: int) -> Quantities:
    examples = host.examples(first, samples)
    main = main_feature(host.response_sizes())
    inactive = (~examples.active).gather(1, main.clamp(min=0)[:, :, None].expand(-1, -1, samples))
    taps, rest = host.taps(examples.x), host.rest()
    found = {}
    for tap in TAPS:
        moved = getattr(taps, tap) - getattr(rest, tap)
        u, order = (gauged(host.bottleneck, moved) if tap == "mid" else moved).abs().sort(dim=2)
        still = (u <= UNMOVED * u[:, :, -1:]).sum(2, keepdim=True)
        edges = still + (samples - still) * torch.arange(CLASSES + 1, device=u.device) // CLASSES
        whole, other = (_between(edges, values) for values in (u, torch.where(inactive.gather(2, order), u, 0.0)))
        alive = (whole > 0) & (main >= 0)[:, :, None].cpu()
        found[tap] = torch.where(alive, (other / whole).clamp(0, 1), torch.nan).float()
    return found


def _between(edges: Tensor, values: Tensor) -> Tensor:
    """Sums of ``values`` along the last axis between consecutive ``edges``, on the CPU: a GPU would round what runs up
    to an edge otherwise every time."""
    upto = torch.nn.functional.pad(values.cpu().double().cumsum(2), (1, 0))
    return upto.gather(2, edges.cpu()).diff(dim=2)


def weak_minus_strong(shares: Tensor) -> Tensor:
    """The mean over live neurons of S of the weaker half - S of the strongest class, [model], of [model, hidden,
    class]; NaN where no neuron lives."""
    weak = shares[:, :, : CLASSES // 2]
    difference = mean_over(weak, torch.ones_like(weak, dtype=torch.bool), dim=2) - shares[:, :, -1]
    return mean_over(difference, torch.ones_like(difference, dtype=torch.bool))
