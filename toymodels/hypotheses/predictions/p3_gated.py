"""P3: hidden features (tier two) have a large effect only where no feature of the neuron tier is present.

    a_i  = readout_i(e_i) - readout_i(0)                     the effect of feature i alone, before ``out``
    a_ij = readout_i(e_i + e_j) - readout_i(e_j)             its effect in the company of j
    G = mean over hidden i, j in the neuron tier of (1 - a_ij / a_i) - mean over i in the neuron tier, hidden j
    statistic = G, minus each LN-only control's

e_i at the feature's mean active value; features with |a_i| < .05 are left out, and counted. Before ``out``, because a
ReLU output counterfeits gating by clipping; minus the controls, because LayerNorm alone gates small features by large
ones. Margin .1.

A signed feature has two sides, e_i and -e_i, each with an effect a_i of its own: 1 - a_ij / a_i is then the mean over
both sides of i and both of j, and a feature is left out where either side's |a_i| < .05.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import directions, hidden_from
from toymodels.hypotheses.arms import MAIN, Arm
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.prediction import Numbers, Prediction
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.responses import mean_active_values, sides
from toymodels.metrics.tiers import Tier

SMALLEST = 0.05
"""The size of an effect alone below which a feature is left out."""
WITH_NEURON, WITH_HIDDEN = "effect_with_neuron", "effect_with_hidden"
"""The columns of evidence that are effects in company, which is of either tier."""
LEFT_OUT = "left out of P3"
"""The mark that counts the features of the tiers that are left out."""


class Gated(Prediction):
    """The prediction that features of the neuron tier, where they are present, silence hidden ones."""

    key = "P3"
    claim = "Tier two is gated by tier one"
    figure = "p3_gated"
    margin = 0.1
    decisive = ("gating",)
    compares = (Tier.HIDDEN, Tier.NEURON)
    columns: ClassVar = {
        "effect_alone": "alone",
        WITH_NEURON: "gated",
        WITH_HIDDEN: "gated",
    }

    def measure(self, arm: Arm, samples: SplitSamples) -> Quantities:
        """The `effects` of features alone and in company, which need no samples."""
        del samples
        return effects(arm)

    def numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        """The `statistic` of every seed and control."""
        return {"gating": statistic(evidence.of(self.key), tiers.neuron, tiers.hidden)}

    def marks(self, evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor]:
        """How many features of the tiers are left out."""
        return {LEFT_OUT: left_out(evidence.of(self.key), tiers.neuron, tiers.hidden)}

    def notes(self, marks: Mapping[str, Tensor]) -> Iterator[str]:
        """That features are left out, where any are."""
        if count := float(marks[LEFT_OUT].double().mean()):
            yield f"P3 leaves out {count:.1f} features a model: their effect alone is below {SMALLEST}"

    def evidence_columns(self, measured: Quantities, tiers: Tiers) -> dict[str, Tensor]:
        """The effect of each feature alone, and in the company of one feature of either tier."""
        company = {WITH_NEURON: in_company(measured, tiers.neuron), WITH_HIDDEN: in_company(measured, tiers.hidden)}
        return super().evidence_columns(measured, tiers) | company


def effects(arm: Arm) -> Quantities:
    """``alone``: a_i [model, feature], of a signed feature the smaller of its sides' by size; ``gated``: 1 - a_ij / a_i
    [model, feature i, feature j], the mean over sides, NaN where i = j or |a_i| < .05 on any side."""
    parts = [_effects(arm, k) for k in range(len(arm))]
    return {name: torch.stack([part[name] for part in parts]).float() for name in parts[0]}


def _effects(arm: Arm, k: int) -> Quantities:
    """``alone`` [feature] and ``gated`` [feature i, feature j] of the k-th model."""
    e, own = arm.experiments[0], arm.parameters[k : k + 1]
    n, value = e.features.n, mean_active_values(arm.experiments[k : k + 1], own.W_in)
    bias = torch.zeros_like(own.W_in[:, :, 0]) if own.b_in is None else own.b_in

    def post(pre: Tensor) -> Tensor:
        return hidden_from(e.bottleneck, own, pre).post[0]

    # The output bias cancels.
    nothing = (own.decoder[0] @ post(bias[:, :, None]))[:, 0]
    signs = sides(signed=e.features.signed)
    moved = {sign: directions(own) * (sign * value) for sign in signs}
    alone = {sign: own.decoder[0] @ post(moved[sign] + bias[:, :, None]) for sign in signs}  # [read-out, present]
    effects = torch.stack([torch.diagonal(alone[sign]) - nothing for sign in signs])  # [side, feature]
    gated = torch.zeros(n, n).to(effects)
    for of_i, effect in zip(signs, effects, strict=True):
        for of_j in signs:
            pairs = (moved[of_i][:, :, :, None] + moved[of_j][:, :, None, :] + bias[:, :, None, None]).flatten(2)
            both = torch.einsum("ih,hij->ij", own.decoder[0], post(pairs).view(-1, n, n))
            gated += 1 - (both - alone[of_j]) / effect[:, None]
    gated /= len(signs) ** 2
    weaker = effects.gather(0, effects.abs().argmin(0, keepdim=True))[0]
    gated[weaker.abs() < SMALLEST] = torch.nan
    gated.fill_diagonal_(torch.nan)
    return {"alone": weaker, "gated": gated}


def in_company(measured: Quantities, of: Tensor) -> Tensor:
    """The mean effect of each feature in the company of one of the features ``of``, bool [model, feature]: the mean of
    its a_ij, which is a_i (1 - mean of gated), [model, feature]."""
    gated = measured["gated"]
    return measured["alone"] * (1 - mean_over(gated, of[:, None, :].expand_as(gated), dim=2))


def gating(gated: Tensor, neuron: Tensor, hidden: Tensor, counted: Tensor) -> Tensor:
    """G of every model, [model], over the features i that are ``counted``, bool [model, feature]."""
    small_by_large = mean_over(gated, (hidden & counted)[:, :, None] & neuron[:, None, :], dim=(1, 2))
    large_by_small = mean_over(gated, (neuron & counted)[:, :, None] & hidden[:, None, :], dim=(1, 2))
    return small_by_large - large_by_small


def statistic(measured: Mapping[str, Quantities], neuron: Tensor, hidden: Tensor) -> Tensor:
    """The statistic of every seed, [model, control], for the tiers ``neuron`` and ``hidden``, bool [model, feature].

    Against each control over the features whose effect is large enough in both.
    """
    own, differences = measured[MAIN], []
    for name, control in measured.items():
        if name != MAIN:
            counted = ~(_small(own) | _small(control))
            of_own, of_control = (gating(of["gated"], neuron, hidden, counted) for of in (own, control))
            differences.append(of_own - of_control)
    return torch.stack(differences, 1)


def left_out(measured: Mapping[str, Quantities], neuron: Tensor, hidden: Tensor) -> Tensor:
    """How many features of the tiers are left out because of their effect in SoLU + LN or some control: [model]."""
    small = torch.stack([_small(of) for of in measured.values()]).any(0)
    return (small & (neuron | hidden)).sum(1)


def _small(of: Quantities) -> Tensor:
    return of["alone"].abs() < SMALLEST
