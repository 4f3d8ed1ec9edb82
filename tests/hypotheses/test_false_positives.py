"""Labels that mean nothing: *supported* in at most 15 of 200 at delta = 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels import Binary
from toymodels.hypotheses.constructed import CONSTRUCTIONS, regime
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions.p2_rescaled import Rescaled
from toymodels.hypotheses.predictions.p3_gated import Gated
from toymodels.hypotheses.predictions.p4_needs_norm import NeedsNorm
from toymodels.hypotheses.statistics.contrasts import beyond_controls
from toymodels.hypotheses.statistics.findings import from_seeds
from toymodels.hypotheses.tiers import AnalysisSetting, Tiers

REPEATS, MOST = 200, 15
HIDDEN, SEEDS, SAMPLES = 16, range(8), 16_384
PREDICTIONS = (Rescaled(), Gated(), NeedsNorm())


@pytest.fixture(scope="module", params=[CONSTRUCTIONS[0], CONSTRUCTIONS[5]], ids=lambda c: c.name)
def evidence(request):
    return gather(regime(request.param, HIDDEN, Binary(), SEEDS, "1e-05"), "1e-05", SAMPLES)


def supported(values) -> bool:
    values = values if values.dim() == 2 else values[:, None]
    if (values.nanmean(0) < 0).any() and values.isfinite().all():
        return False  # below 0 p is far from small: not worth resampling
    return from_seeds("", values, 0.0).p_above < 0.025


def permuted(tiers, rng) -> Tiers:
    """As many features in either tier of each model, drawn from all that are in one."""
    neuron = torch.zeros_like(tiers.neuron)
    for model, in_a_tier in enumerate((tiers.neuron | tiers.hidden).numpy()):
        places = np.flatnonzero(in_a_tier)
        neuron[model, rng.choice(places, int(tiers.neuron[model].sum()), replace=False)] = True
    return Tiers(neuron, (tiers.neuron | tiers.hidden) & ~neuron)


@pytest.mark.slow  # test_power asks the same of planted models
def test_labels_without_meaning_are_rarely_supported(evidence):
    """Of SoLU + LN alone, beyond all of its controls, and beyond one: three times must it be supported, or once."""
    tiers, rng = Tiers.of(evidence, AnalysisSetting("1e-05")), np.random.default_rng(21)
    found: dict[tuple[str, str], int] = {}
    drawn = [permuted(tiers, rng) for _ in range(REPEATS)]
    for prediction in PREDICTIONS:
        for numbers in prediction.numbers(evidence, drawn):
            for kind in prediction.decisive:
                values = numbers[kind]
                assert isinstance(values, torch.Tensor)
                beyond = beyond_controls(values)
                said = {"own": values[:, 0], "beyond all": beyond, "beyond one": beyond[:, :1]}
                for name, each in said.items():
                    found[kind, name] = found.get((kind, name), 0) + supported(each)
    assert max(found.values()) <= MOST, found
