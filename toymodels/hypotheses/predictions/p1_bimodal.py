"""P1: the alignment of recovered features has two modes.

    z_i = Phi^-1 of the null percentile of feature i's response alignment       (clipped to where the null can tell)
    statistic = dip of z over the recovered features - its mean under the null, minus each LN-only control's

The dip is Hartigan's (`toymodels.hypotheses.statistics.dip`), with a Monte Carlo p a model. Percentiles are taken to
normal scores first: where one tier is aligned and the other is like its null, percentiles are uniform with an atom at
100, which *is* unimodal. In 40,000 simulated models of 40 features, 12 of them above all but .1 % of the null, the dip
test at 5 % finds them 15 % of the time in percentiles and 99 % in normal scores, and calls 4 % and .3 % of pure nulls
bimodal. A dip falls as the sample grows, and arms differ in how many features they recover: so each has the mean dip of
as many normal numbers taken off, which is what z are under the null. Of signed features the alignment is that of both
sides together (`toymodels.metrics.responses`), in the models as in the null. Margin .01.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_TIERS, Evidence, Quantities
from toymodels.hypotheses.prediction import Numbers, Prediction
from toymodels.hypotheses.statistics.contrasts import beyond_controls
from toymodels.hypotheses.statistics.dip import dip, expected_of_normals, p_values
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.rotation_null import DRAWS

DIP_P = "dip p"
"""The mark that is the Monte Carlo p of the dip of SoLU + LN's own alignment."""
FEWEST_RECOVERED = 4
"""With fewer recovered features a model has no modes to count: its dip is undefined."""


class Bimodal(Prediction):
    """The prediction that alignment has two modes. It measures nothing: percentiles are what tiers are made of."""

    key = "P1"
    claim = "The alignment of recovered features has two modes"
    figure = "p1_bimodal"
    margin = 0.01
    decisive = ("dip",)

    def numbers(self, evidence: Evidence, tiers: Tiers) -> Numbers:
        """The `statistic` of every seed and control."""
        measured = {name: of[OF_TIERS] for name, of in evidence.with_norm.items()}
        return {"dip": statistic(measured, tiers.recovered)}

    def marks(self, evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor]:
        """The p of the dip of SoLU + LN alone."""
        return {DIP_P: dip_p_values(evidence.arms[MAIN][OF_TIERS], tiers.neuron | tiers.hidden)}


def normal_scores(percentile: Tensor, recovered: Tensor) -> Tensor:
    """The z of every feature [model, feature]; NaN for what is not recovered."""
    edge = 0.5 / (DRAWS * percentile.shape[1])
    share = (percentile.double() / 100).clamp(edge, 1 - edge)
    return torch.where(recovered & percentile.isfinite(), torch.special.ndtri(share), torch.nan)


def statistic(measured: Mapping[str, Quantities], recovered: Mapping[str, Tensor]) -> Tensor:
    """The statistic of every seed, [model, control]; ``recovered`` bool [model, feature] by arm: each its own."""
    of = {name: {"z": normal_scores(m["percentile"], recovered[name])} for name, m in measured.items()}
    return beyond_controls(of, lambda arm: _dip(arm["z"]))


def dip_p_values(measured: Quantities, recovered: Tensor) -> Tensor:
    """The Monte Carlo p of each model's own dip, [model]."""
    return p_values(normal_scores(measured["percentile"], recovered))


def _dip(z: Tensor) -> Tensor:
    counts = z.isfinite().sum(1)
    by_chance = torch.tensor(
        [expected_of_normals(int(count)) if count >= FEWEST_RECOVERED else torch.nan for count in counts]
    )
    return dip(z) - by_chance
