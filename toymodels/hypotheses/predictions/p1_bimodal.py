"""P1: are the features that a model recovers two groups, in a neuron and in none, or one?

    a_i = max_k R^2 of the best affine read-out of feature i from neuron k at ``post``     (functional alignment)
    statistic = dip of a_i over the features of either tier, of all seeds together - its mean of as many normal numbers

The dip is Hartigan's (`toymodels.hypotheses.statistics.dip`), with its Monte Carlo p: P(as large of as many uniform
numbers). A dip falls as the sample grows, so what chance gives is taken off. Seeds are pooled, and a_i itself is: ranks
within a model, or places in a uniform null, are uniform by construction, and of them the dip says nothing.

It describes and decides nothing, for how large a dip can be depends on how many features a group has: in two groups as
far apart as can be, of the sizes that the tiers have here, it is about half the share of the smaller one. 3 features of
40 in neurons cannot be told from one group (.001 below its mean by chance), 4 come .005 above it and 5 .016. So what
such a sample has (`expected_of_two_groups`), the *floor* below which two groups may hide, stands beside it: near the
floor, features are as much in two groups as the tiers say; near 0, in one; and where the floor is near 0 itself, there
are too few in a group to tell. Groups that are wide, or not far apart, lie in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_TIERS, Evidence
from toymodels.hypotheses.numbers import AtSetting, Statistics
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.statistics.dip import dip, expected_of_normals, expected_of_two_groups, p_values
from toymodels.hypotheses.statistics.findings import Finding, unknown
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import Tiers

DIP, FLOOR = "dip", "dip of two groups"
DIP_P = "dip p"
"""The mark that is the Monte Carlo p of the dip of each model of SoLU + LN alone."""
ALIGNMENT = "alignment of the features of either tier"
"""The mark that is a_i, [seed, feature], NaN of a feature in no tier."""
FEWEST = 4
"""With fewer features there are no modes to count: the dip is undefined."""
DESCRIBES = "it describes, and decides nothing"


@dataclass(frozen=True)
class Modes:
    """Whether the alignment of some features has two modes."""

    features: int
    dip: float
    """beyond what as many normal numbers have on average; NaN of fewer than `FEWEST` features"""
    p: float
    """P(a dip as large, of as many uniform numbers); 1 of fewer than `FEWEST` features"""
    floor: float
    """the ``dip`` of two groups of these sizes as far apart as can be; NaN of fewer than `FEWEST` features"""


class Bimodal(Prediction):
    """The prediction that alignment has two modes. It measures nothing: alignment is what tiers are made of."""

    key = "P1"
    claim = "The alignment of features is in two groups"
    figure = "p1_bimodal"
    margin = 0.0
    decisive = ()

    def marks(self, evidence: Evidence, tiers: Tiers) -> Mapping[str, Tensor]:
        """The alignment of SoLU + LN's features, and the p of the dip of each of its models alone."""
        alignment = evidence.arms[MAIN][OF_TIERS]["alignment"].double()
        alignment = torch.where(tiers.neuron | tiers.hidden, alignment, torch.nan)
        return {ALIGNMENT: alignment, DIP_P: p_values(alignment)}

    def pooled(self, statistics: Statistics, at: AtSetting) -> Mapping[str, Finding]:
        """The `modes` of all seeds together: the dip, with its floor for a margin and its p for that of being above;
        and the floor. Both without an interval, and undetermined."""
        del statistics
        found = modes(at.marks[ALIGNMENT], at.own.neuron, at.own.hidden)
        if found.features < FEWEST:
            reason = f"fewer than {FEWEST} features in a tier"
            return {kind: unknown(kind, self.margin, reason) for kind in (DIP, FLOOR)}
        nan, seeds, undecided = float("nan"), int((at.own.neuron | at.own.hidden).any(1).sum()), Status.UNDETERMINED
        return {
            DIP: Finding(DIP, found.dip, nan, nan, seeds, found.floor, found.p, 1.0, undecided, DESCRIBES),
            FLOOR: Finding(FLOOR, found.floor, nan, nan, seeds, self.margin, 1.0, 1.0, undecided, DESCRIBES),
        }


def modes(alignment: Tensor, neuron: Tensor, hidden: Tensor) -> Modes:
    """The modes of a_i [model, feature] over the features of the tiers, bool [model, feature], of all models."""
    counted = (neuron | hidden) & alignment.isfinite()
    values, of_neuron = alignment[counted].double()[None], int((neuron & counted).sum())
    features = values.shape[1]
    if features < FEWEST:
        return Modes(features, torch.nan, 1.0, torch.nan)
    by_chance = expected_of_normals(features)
    floor = expected_of_two_groups(of_neuron, features - of_neuron) - by_chance
    return Modes(features, dip(values).item() - by_chance, p_values(values).item(), floor)
