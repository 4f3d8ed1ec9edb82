"""LayerNorm live, frozen and removed: by the interventions on the forward pass, and one without LayerNorm."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toymodels import Binary, Bottleneck, LayerNorm, ReLU, SoLU
from toymodels.hypotheses.norm_states import FROZEN, LIVE, REMOVED, r2_by_norm
from toymodels.surgery import FrozenNorm, WithoutNorm, geometric_mean_scale, operate
from toymodels.training.experiment import sampler, target_of

SAMPLES = 2048


def explained(arm, interventions):
    """max(0, corr(t, y))^2 of every feature, through the forward pass under interventions."""
    e, p = arm.experiments[0], arm.parameters
    x = sampler(arm.experiments).evaluation(0, SAMPLES).to(p.W_in.dtype)
    t, y = target_of(arm.experiments)(x), operate(e.bottleneck, p, x, *interventions).out
    found = [
        [np.corrcoef(a, b)[0, 1] if b.std() > 1e-6 else 0.0 for a, b in zip(*each, strict=True)]
        for each in zip(t.numpy(), y.numpy(), strict=True)
    ]
    return np.clip(np.array(found), 0, None) ** 2


@pytest.mark.parametrize("tied", [True, False])
def test_each_state_is_the_forward_pass_under_its_intervention(make_arm, tied):
    arm = make_arm(Bottleneck(hidden=4, activation=SoLU(), layer_norm=LayerNorm(), tied=tied), Binary())
    scale = geometric_mean_scale(arm, SAMPLES)
    found = r2_by_norm(arm, SAMPLES)
    for name, interventions in ((LIVE, ()), (FROZEN, (FrozenNorm(scale),)), (REMOVED, (WithoutNorm(),))):
        np.testing.assert_allclose(found[name].numpy(), explained(arm, interventions), atol=2e-4)
    assert (found[REMOVED] - found[LIVE]).abs().max() > 0.01


def test_without_layer_norm_the_three_are_one(make_arm):
    arm = make_arm(Bottleneck(hidden=4, activation=ReLU()), Binary())
    found = r2_by_norm(arm, SAMPLES)
    assert torch.equal(found[LIVE], found[FROZEN])
    assert torch.equal(found[LIVE], found[REMOVED])
