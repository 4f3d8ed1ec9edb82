"""LayerNorm live, frozen and removed: how much of each feature the model says in each of the three.

    live       as trained
    frozen     LayerNorm's scale held at its geometric mean over non-empty inputs, gain and bias as trained
    removed    post = mid, without gain and bias; the read-out stays as trained

R^2 is after the best affine rescaling of each output that turns no sign, as in P4: so that no output counts as lost
because it comes out larger or smaller. Without LayerNorm all three are one.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from toymodels.hosts import Host
from toymodels.hypotheses.predictions.p4_needs_norm import SAMPLES, held, rescaled_r2
from toymodels.metrics.moments import collect
from toymodels.surgery import geometric_mean_scale

LIVE, FROZEN, REMOVED = "live", "frozen", "removed"


def r2_by_norm(arm: Host, samples: int) -> dict[str, Tensor]:
    """R^2 of every feature with LayerNorm in each state, float64 [model, feature], NaN for a feature never seen.

    On the first ``samples`` of each model's evaluation stream; the scale is that of at most `SAMPLES` of them.
    """
    states: dict[str, Host] = {LIVE: arm, FROZEN: arm, REMOVED: arm}
    if arm.bottleneck.layer_norm is not None:
        scale = geometric_mean_scale(arm, min(SAMPLES, samples))
        states |= {FROZEN: held(arm, scale), REMOVED: without_norm(arm)}
    return {name: rescaled_r2(collect(state, samples)) for name, state in states.items()}


def without_norm(arm: Host) -> Host:
    """The same layers without their LayerNorm, its gain and its bias; the read-out is as trained."""
    p = arm.parameters
    parameters = dataclasses.replace(p, W_out=p.decoder, ln_gain=None, ln_bias=None, ln_eps=None)
    return arm.changed(parameters, lambda b: dataclasses.replace(b, layer_norm=None, tied=False))
