"""P3: tier-two features have a large effect only where no tier-one feature is present.

    a_i  = readout_i(e_i) - readout_i(0)                     the effect of feature i alone, before ``out``
    a_ij = readout_i(e_i + e_j) - readout_i(e_j)             its effect in the company of j
    G = mean over i in tier two, j in tier one of (1 - a_ij / a_i) - mean over i in tier one, j in tier two
    statistic = G, minus each LN-only control's

e_i at the feature's mean active value; features with |a_i| < .05 are left out, and counted. Before ``out``, because a
ReLU output counterfeits gating by clipping; minus the controls, because LayerNorm alone gates small features by large
ones. Margin .1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from toymodels.bottleneck import normed
from toymodels.hypotheses.arms import MAIN, Arm
from toymodels.hypotheses.evidence import mean_over
from toymodels.metrics.alignment import mean_active_values

MARGIN = 0.1
SMALLEST = 0.05


def measure(arm: Arm) -> dict[str, Tensor]:
    """``alone``: a_i [model, feature]; ``gated``: 1 - a_ij / a_i [model, feature i, feature j], NaN where i = j or
    |a_i| < .05."""
    e, parameters = arm.experiments[0], arm.parameters
    n = e.features.n
    values = mean_active_values(arm.experiments, parameters.W_in)
    effects, parts = [], []
    for k in range(len(arm)):
        own = parameters[k : k + 1]
        moved = own.W_in * values[k]
        bias = torch.zeros_like(moved[:, :, 0]) if own.b_in is None else own.b_in
        pairs = (moved[:, :, :, None] + moved[:, :, None, :] + bias[:, :, None, None]).flatten(2)
        nothing, alone, both = (
            normed(e.bottleneck, own, e.bottleneck.activation(pre, dim=1))[0]
            for pre in (bias[:, :, None], moved + bias[:, :, None], pairs)
        )
        # The output bias cancels.
        nothing, alone = own.decoder[0] @ nothing, own.decoder[0] @ alone  # [read-out, 1] and [read-out, present]
        both = torch.einsum("ih,hij->ij", own.decoder[0], both.view(-1, n, n))
        effect = torch.diagonal(alone) - nothing[:, 0]
        gated = 1 - (both - alone) / effect[:, None]
        gated[effect.abs() < SMALLEST] = torch.nan
        gated.fill_diagonal_(torch.nan)
        effects.append(effect.float())
        parts.append(gated.float())
    return {"alone": torch.stack(effects), "gated": torch.stack(parts)}


def gating(gated: Tensor, one: Tensor, two: Tensor, counted: Tensor) -> Tensor:
    """G of every model, [model], over the features i that are ``counted``, bool [model, feature]."""
    small_by_large = mean_over(gated, (two & counted)[:, :, None] & one[:, None, :], dim=(1, 2))
    large_by_small = mean_over(gated, (one & counted)[:, :, None] & two[:, None, :], dim=(1, 2))
    return small_by_large - large_by_small


def statistic(measured: Mapping[str, dict[str, Tensor]], one: Tensor, two: Tensor) -> Tensor:
    """The statistic of every seed, [model, control], for the tiers ``one`` and ``two``, bool [model, feature].

    Against each control over the features whose effect is large enough in both.
    """
    own, differences = measured[MAIN], []
    for name, control in measured.items():
        if name != MAIN:
            counted = ~(_small(own) | _small(control))
            differences.append(gating(own["gated"], one, two, counted) - gating(control["gated"], one, two, counted))
    return torch.stack(differences, 1)


def left_out(measured: Mapping[str, dict[str, Tensor]], one: Tensor, two: Tensor) -> Tensor:
    """How many features of the tiers are left out because of their effect in SoLU + LN or some control: [model]."""
    small = torch.stack([_small(of) for of in measured.values()]).any(0)
    return (small & (one | two)).sum(1)


def _small(of: dict[str, Tensor]) -> Tensor:
    return of["alone"].abs() < SMALLEST
