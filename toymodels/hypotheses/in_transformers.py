"""The battery on layers of transformers: of it what can be asked of a layer whose features cannot be shown alone.

    engaged?    affine substitution, the affine share and effective neurons, of every arm; beside them the affine
                substitution of neurons that read random directions, which no training made use of
    tiers       functional alignment with its null, as of toy models; recovered means by the ridge probe of `post`
    P2, P4, P7  and the questions Q1 more neurons and Q2 more hidden

Not P3, which adds one feature alone to another alone, and nothing is alone in a text; P1, P6 and P9 are not asked. A
host's read-out is a probe, so R^2, loss fractions and P4 are of what an affine read-out can say of a feature, not of
what the transformer makes of it. An arm's *own* numbers are by its own tiers; what SoLU + LN has *beyond* its LN-only
control is by the tiers of SoLU + LN, feature by feature, in both. Of an arm that is not shown to be engaged every
status is undetermined, as its activation could be left out; and of SoLU + LN all comparisons. A control may be idle: it
is then what LayerNorm does alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from toymodels.hosts import Host
from toymodels.hypotheses import tiers
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import OF_ENGAGEMENT, OF_TIERS, Evidence, Measured, SplitSamples, halves
from toymodels.hypotheses.numbers import AtSetting
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.predictions.p2_rescaled import RESCALED, Rescaled
from toymodels.hypotheses.predictions.p4_needs_norm import NeedsNorm
from toymodels.hypotheses.predictions.p7_weak_activity import WeakActivity
from toymodels.hypotheses.questions import QUESTIONS
from toymodels.hypotheses.statistics.contrasts import defined
from toymodels.hypotheses.statistics.findings import Finding, from_seeds
from toymodels.hypotheses.statistics.intervals import Status
from toymodels.hypotheses.tiers import FEWEST_FEATURES, AnalysisSetting, Tiers
from toymodels.metrics.linearity import unexplained_by_affine
from toymodels.metrics.manipulation import ENGAGED, affine_substitution, effective_neurons
from toymodels.metrics.moments import collect, together
from toymodels.parameters import Parameters
from toymodels.surroundings import undisturbed

ASKED = (Rescaled(), NeedsNorm(), WeakActivity())
"""the predictions that are asked"""
OF_NORM = (("P2", RESCALED), *(("P4", kind) for kind in NeedsNorm.decisive))
"""what is 0 by definition where no LayerNorm follows"""
Findings = dict[tuple[str, str, str], Finding]
"""by arm, the key of a prediction or question, and the kind of statistic or what is asked"""
BY_CHANCE = "affine substitution, W_in random"
"""that of `random_neurons`, by its name among what engagement is told by"""
EPS = "1e-05"
"""the LayerNorm eps of transformers, which no setting of the analysis changes"""


@undisturbed
def measure(name: str, host: Host, samples: int, null_seed: int = 0) -> Measured:
    """What is asked of the arm of this name, on its first ``samples`` samples: of each of its models."""
    middle, last = halves(samples)
    moments = collect(host, last)
    first_half, second_half = together(moments.folds[:2]), together(moments.folds[2:])
    on = SplitSamples(name, middle, last, first_half, second_half)
    found = {OF_TIERS: tiers.measure(host, first_half, null_seed)}
    random = host.changed(random_neurons(host.parameters, null_seed))
    found[OF_ENGAGEMENT] = {
        "affine substitution": affine_substitution(host, moments),
        BY_CHANCE: affine_substitution(random, collect(random, last)),
        "affine share": 1 - unexplained_by_affine(moments),
        "effective neurons": effective_neurons(host, last),
    }
    return found | {prediction.key: prediction.measure(host, on) for prediction in ASKED}


def random_neurons(parameters: Parameters, seed: int) -> Parameters:
    """The parameters with every row of W_in in a random direction, as long as it was: Gaussian, of (seed, model)."""
    W_in = parameters.W_in
    drawn = [np.random.default_rng([seed, model]).standard_normal(W_in.shape[1:]) for model in range(len(W_in))]
    rows = torch.from_numpy(np.stack(drawn)).to(W_in.device)
    rows *= torch.linalg.vector_norm(W_in.double(), dim=2, keepdim=True) / rows.norm(dim=2, keepdim=True)
    return replace(parameters, W_in=rows.to(W_in.dtype), W_out=parameters.decoder)


def tiers_of(arms: Mapping[str, Measured], setting: AnalysisSetting) -> dict[str, Tiers]:
    """The tiers of each arm by its own measures."""
    return {name: Tiers.of(_evidence(arms), setting, name) for name in arms}


def engaged(measured: Measured) -> Finding:
    """Whether an arm's activation does anything: its affine substitution against `ENGAGED`."""
    return from_seeds("engaged", measured[OF_ENGAGEMENT]["affine substitution"], ENGAGED)


def own(arms: Mapping[str, Measured], setting: AnalysisSetting) -> Findings:
    """What each arm says of each prediction, by its own tiers; without LayerNorm nothing of what LayerNorm does."""
    of = tiers_of(arms, setting)
    found: Findings = {}
    for name, measured in arms.items():
        for p in ASKED:
            each = _judged(p, p.of_arm(measured[p.key], of[name]), of[name])
            found |= {(name, *key): _of(arms, name, finding) for key, finding in each.items() if _has(name, key)}
    return found


def beyond(arms: Mapping[str, Measured], setting: AnalysisSetting) -> Findings:
    """What SoLU + LN has of each prediction beyond each arm with another activation before a LayerNorm, by the tiers of
    SoLU + LN. The arms must be paired by seed. Nothing where there is no SoLU + LN."""
    found: Findings = {}
    for control in (name for name in arms if name != MAIN and name.endswith("LN") and MAIN in arms):
        of = tiers_of({MAIN: arms[MAIN]}, setting)[MAIN]
        for p in ASKED:
            main, other = (p.of_arm(arms[name][p.key], of) for name in (MAIN, control))
            each = _judged(p, {kind: defined(main[kind] - other[kind]) for kind in main}, of)
            found |= {(control, *key): _of(arms, MAIN, finding) for key, finding in each.items()}
    return found


def questions(arms: Mapping[str, Measured], setting: AnalysisSetting) -> Findings:
    """Q1 and Q2: how many more features SoLU + LN has in a tier than each other arm, paired by seed. Nothing where
    there is no SoLU + LN."""
    if MAIN not in arms or len(arms) == 1:
        return {}
    at = AtSetting(tiers_of(arms, setting), {}, {})
    return {
        (arm, question.key, question.asks): _of(arms, MAIN, finding)
        for question in QUESTIONS
        for arm, finding in question.findings(at).items()
    }


def _judged(prediction: Prediction, numbers: Mapping[str, Tensor], of: Tiers) -> dict[tuple[str, str], Finding]:
    """The findings of the kinds of statistic that decide, of the seeds that have features to compare."""
    enough = torch.ones(len(of.neuron), dtype=torch.bool)
    for tier in prediction.compares:
        enough &= of.sizes[tier] >= FEWEST_FEATURES
    margin = prediction.margin_of
    return {
        (prediction.key, kind): from_seeds(kind, numbers[kind], margin(kind), enough) for kind in prediction.decisive
    }


def _of(arms: Mapping[str, Measured], name: str, finding: Finding) -> Finding:
    """The finding if the arm of this name is engaged; undetermined, with the reason, if that is not shown."""
    if engaged(arms[name]).status is Status.SUPPORTED:
        return finding
    return replace(finding, status=Status.UNDETERMINED, reason=f"{name} is not shown to be engaged")


def _has(arm: str, key: tuple[str, str]) -> bool:
    """Whether there is something in an arm that such a finding is of."""
    return arm.endswith("LN") or key not in OF_NORM


def _evidence(arms: Mapping[str, Measured]) -> Evidence:
    return Evidence("transformers", EPS, arms, np.zeros((0, 0, 2)))
