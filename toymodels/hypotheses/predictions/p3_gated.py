"""P3: hidden features (tier two) have a large effect only where no feature of the neuron tier is present.

*Gating*, feature by feature:

    a_i  = readout_i(e_i) - readout_i(0)                     the effect of feature i alone, before ``out``
    a_ij = readout_i(e_i + e_j) - readout_i(e_j)             its effect in the company of j
    G = mean over hidden i, j in the neuron tier of (1 - a_ij / a_i) - mean over i in the neuron tier, hidden j

e_i at the feature's mean active value; features with |a_i| < .05 in an arm are left out there, and counted. Before
``out``, because a ReLU output counterfeits gating by clipping. Margin .1.

*Crowding-matched*, on data (the second half of the samples): what the company of a feature of the neuron tier costs a
feature in R^2, beyond what company of the same size costs it without one, `toymodels.hypotheses.crowding.drops`;

    M = mean of drop_i over the hidden tier - mean over the neuron tier

so that neither crowding, which hurts everybody, nor what the neuron tier does to everybody counts. Margin .05.

Both decide. G = 0 of a model that is linear before ``out``, and changes its sign when the tiers change their names. M
does not: company without the neuron tier is of hidden features alone, so M is what the tiers do to each other minus
what each does to itself, and 0 of a model in which all company costs the same. Below 0: features are hurt most by their
own tier, as where hidden features share neurons and nothing is gated.

Beside them, and not decisive: *matched, both ways*, mean of drop_i over the hidden tier in the company of neuron
features minus its mean over the neuron tier in the company of hidden ones, which does change its sign; and feature by
feature, R^2 with 0, 1, 2, and 3 or more other features of the neuron tier active.

A signed feature has two sides, e_i and -e_i, each with an effect a_i of its own: 1 - a_ij / a_i is then the mean over
both sides of i and both of j, and a feature is left out where either side's |a_i| < .05.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import directions, hidden_from
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.crowding import COMPANY, drops, explained_in_company, observe
from toymodels.hypotheses.evidence import Evidence, Quantities, SplitSamples
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.tiers import Tier
from toymodels.responses import mean_active_values, sides

SMALLEST = 0.05
"""The size of an effect alone below which a feature is left out."""
WITH_NEURON, WITH_HIDDEN = "effect_with_neuron", "effect_with_hidden"
"""The columns of evidence that are effects in company, which is of either tier."""
IN_COMPANY = tuple(f"r2_with_{k}" for k in range(COMPANY))
"""The columns of evidence that are R^2 with so many other features of the neuron tier active; the last, or more."""
GATING, MATCHED, BOTH_WAYS = "gating", "crowding-matched", "matched, both ways"
LEFT_OUT = "left out of P3"
"""The mark that counts the features of the tiers that are left out of gating in SoLU + LN."""


class Gated(Prediction):
    """The prediction that features of the neuron tier, where they are present, silence hidden ones."""

    key = "P3"
    claim = "Tier two is gated by tier one"
    figure = "p3_gated"
    margin = 0.1
    margins: ClassVar = {MATCHED: 0.05, BOTH_WAYS: 0.05}
    decisive = (GATING, MATCHED)
    compares = (Tier.HIDDEN, Tier.NEURON)
    columns: ClassVar = {
        "effect_alone": "alone",
        WITH_NEURON: "gated",
        WITH_HIDDEN: "gated",
        **dict.fromkeys(IN_COMPANY, "squared_error"),
    }

    def measure(self, arm: Models, samples: SplitSamples) -> Quantities:
        """The `effects` of features alone and in company, and what to `observe` of the second half of the samples."""
        return effects(arm) | observe(arm, samples.middle, samples.last)

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """G, M, and M both ways: [model] each."""
        return self.of_arm_for_each(measured, [tiers])[0]

    def of_arm_for_each(self, measured: Quantities, tiers: Sequence[Tiers]) -> Sequence[Mapping[str, Tensor]]:
        """The same for each of these tiers; at many settings those of a model are alike."""
        found, gates = [], torch.stack([torch.stack([each.neuron, each.hidden]) for each in tiers])
        for each, (by_neuron, by_hidden) in zip(tiers, drops(measured, gates), strict=True):
            of_hidden = mean_over(by_neuron, each.hidden)
            found.append(
                {
                    GATING: gating(measured["gated"], each.neuron, each.hidden),
                    MATCHED: of_hidden - mean_over(by_neuron, each.neuron),
                    BOTH_WAYS: of_hidden - mean_over(by_hidden, each.neuron),
                }
            )
        return found

    def marks(self, evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor]:
        """How many features of the tiers are left out in SoLU + LN."""
        return {LEFT_OUT: left_out(evidence.arms[MAIN][self.key], tiers.neuron | tiers.hidden)}

    def notes(self, marks: Mapping[str, Tensor]) -> Iterator[str]:
        """That features are left out, where any are."""
        if count := float(marks[LEFT_OUT].double().mean()):
            yield f"P3 leaves out {count:.1f} features a model: their effect alone is below {SMALLEST}"

    def evidence_columns(self, measured: Quantities, tiers: Tiers) -> dict[str, Tensor]:
        """The effect of each feature alone, in the company of one feature of either tier, and its R^2 in company."""
        company = {WITH_NEURON: in_company(measured, tiers.neuron), WITH_HIDDEN: in_company(measured, tiers.hidden)}
        explained = explained_in_company(measured, tiers.neuron).unbind(2)
        return super().evidence_columns(measured, tiers) | company | dict(zip(IN_COMPANY, explained, strict=True))


def effects(arm: Models) -> Quantities:
    """``alone``: a_i [model, feature], of a signed feature the smaller of its sides' by size; ``gated``: 1 - a_ij / a_i
    [model, feature i, feature j], the mean over sides, NaN where i = j or |a_i| < .05 on any side. On the CPU."""
    parts = [_effects(arm, k) for k in range(len(arm))]
    return {name: torch.stack([part[name].cpu() for part in parts]).float() for name in parts[0]}


def _effects(arm: Models, k: int) -> Quantities:
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


def gating(gated: Tensor, neuron: Tensor, hidden: Tensor) -> Tensor:
    """G of every model, [model], over what is not NaN in ``gated`` [model, feature i, feature j]."""
    hidden_by_neuron = mean_over(gated, hidden[:, :, None] & neuron[:, None, :], dim=(1, 2))
    neuron_by_hidden = mean_over(gated, neuron[:, :, None] & hidden[:, None, :], dim=(1, 2))
    return hidden_by_neuron - neuron_by_hidden


def left_out(measured: Quantities, in_a_tier: Tensor) -> Tensor:
    """How many of the features ``in_a_tier``, bool [model, feature], are left out of one arm: [model]."""
    return ((measured["alone"].abs() < SMALLEST) & in_a_tier).sum(1)
