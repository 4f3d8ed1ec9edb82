"""Tiers: which features of a model are in a neuron, which are hidden, and every way of setting the cuts.

    a_i        functional alignment: R^2 of the best affine read-out of feature i from one neuron at ``post``
    aligned    a_i above a cut *and* above a percentile of the feature's own rotation null
    neuron     recovered (R^2_i of the model above a threshold) and aligned: called tier one in the literature
    hidden     not aligned, and recovered where no feature of tier neuron is active: tier two
    lost       the others

A hidden feature that tier one silences has an R^2 of at most about P(none of tier one is active), over all data; so it
is judged on the samples in which none is. A tier does not depend on where a continuum is cut: every cut is set in
several places, one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.hosts import Host
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_TIERS, Evidence, Quantities
from toymodels.metrics.functional_alignment import NULL_ON, functional_null
from toymodels.metrics.loss import loss_fraction
from toymodels.metrics.moments import Moments
from toymodels.metrics.recovery import RECOVERED, best_neuron_r2, r2
from toymodels.metrics.tiers import ALIGNED, ALIGNED_PERCENTILE, Tier, aligned, in_neuron, is_hidden
from toymodels.metrics.ungated import r2_ungated

THRESHOLDS = (0.3, 0.4, 0.5, 0.55)
"""The R^2 above which a feature counts as recovered."""
CUTS = (0.3, 0.4, 0.5, 0.6)
"""The functional alignment above which a feature can count as aligned."""
PERCENTILES = (95.0, 99.0, 99.9)
"""The percentiles of its own rotation null above which it then does; with 200 draws the last is all of them."""
EPS_LABELS = ("1e-05", "1e-12", "matched")
"""The values of LayerNorm's eps at which a claim about LayerNorm is shown."""
FEWEST_FEATURES = 3
"""With fewer features it is no tier, and nothing is compared with it."""
COLUMNS = {
    "active_examples": "active",
    "r2": "r2",
    "functional_alignment": "alignment",
    "functional_alignment_percentile": "percentile",
    "r2_ungated": "r2_ungated",
    "ungated_examples": "ungated",
}
"""The columns of evidence that say what tiers are made of, and the quantity of `measure` that each one shows."""


@dataclass(frozen=True)
class AnalysisSetting:
    """One way of doing the analysis: at which eps, and where the cuts between tiers are."""

    eps: str
    recovered: float = RECOVERED
    aligned: float = ALIGNED
    percentile: float = ALIGNED_PERCENTILE

    @property
    def cuts(self) -> AnalysisSetting:
        """Where the cuts are, whatever the eps."""
        return replace(self, eps="")

    @property
    def is_default(self) -> bool:
        """Whether every cut is where it is by default."""
        return self == AnalysisSetting(self.eps)


def settings(eps: str) -> list[AnalysisSetting]:
    """Every way of doing the analysis at one eps: the default, and then one cut at a time set elsewhere."""
    default = AnalysisSetting(eps)
    moved = [replace(default, recovered=value) for value in THRESHOLDS]
    moved += [replace(default, aligned=value) for value in CUTS]
    moved += [replace(default, percentile=value) for value in PERCENTILES]
    return list(dict.fromkeys([default, *moved]))


def measure(arm: Host, first_half: Moments, null_seed: int = 0) -> Quantities:
    """What tiers are made of, on the first half of the samples: [model, feature] each, but ``loss fraction`` [model].

    ``r2`` of the model; ``active``, the number of examples in which a feature is active; ``alignment``, a_i;
    ``percentile``, that of a_i in the feature's own null; ``r2_ungated``, R^2 where no feature of the model's own tier
    neuron is active, and ``ungated``, its active examples there, at the default setting; and the former as ``r2_ungated
    everywhere`` [model, feature, setting] at each of `settings`, in their order.
    """
    null = functional_null(arm, min(NULL_ON, first_half.samples), seed=null_seed)
    found = {
        "loss fraction": loss_fraction(arm, first_half),
        "r2": r2(first_half),
        "active": first_half.active,
        "alignment": best_neuron_r2(first_half, "post"),
        "percentile": null.percentile,
    }
    gates = torch.stack([in_neuron(found["r2"], _aligned(found, each), each.recovered) for each in settings("")])
    ungated, examples = r2_ungated(arm, gates, first_half.samples)
    return found | {
        "r2_ungated": ungated[0],
        "ungated": examples[0],
        "r2_ungated everywhere": ungated.permute(1, 2, 0).float(),
    }


def _aligned(of: Quantities, setting: AnalysisSetting) -> Tensor:
    return aligned(of["alignment"], of["percentile"], setting.aligned, setting.percentile)


@dataclass(frozen=True)
class Tiers:
    """Which features of the models of an arm are in which tier, bool [model, feature]."""

    neuron: Tensor
    hidden: Tensor

    @staticmethod
    def of(evidence: Evidence, setting: AnalysisSetting, arm: str = MAIN) -> Tiers:
        """The tiers of an arm at a setting of the analysis."""
        of = evidence.arms[arm][OF_TIERS]
        stands, ungated = _aligned(of, setting), of["r2_ungated everywhere"][:, :, settings("").index(setting.cuts)]
        neuron = in_neuron(of["r2"], stands, setting.recovered)
        return Tiers(neuron, is_hidden(of["r2"], stands, ungated, setting.recovered))

    @property
    def each(self) -> Tensor:
        """The `Tier` of every feature, int64 [model, feature]."""
        return Tier.NEURON * self.neuron.long() + Tier.HIDDEN * self.hidden.long()

    @property
    def sizes(self) -> Mapping[Tier, Tensor]:
        """How many features each model has in a tier, [model] each."""
        return {Tier.NEURON: self.neuron.sum(1), Tier.HIDDEN: self.hidden.sum(1)}
