"""Operating: the forward pass of `toymodels.bottleneck` under interventions, and what LayerNorm does in it."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from toymodels.bottleneck import (
    Bottleneck,
    Hidden,
    Parameters,
    Taps,
    gain,
    live_norm,
    mid_of,
    normed,
    preactivation,
    read_out,
)
from toymodels.checks import expect
from toymodels.layer_norm import centred, reciprocal_deviation
from toymodels.surgery.interventions import Intervention


def operate(bottleneck: Bottleneck, parameters: Parameters, x: Tensor, *interventions: Intervention) -> Taps:
    """`forward` under interventions; without any, equal to it bit for bit. x is cast to the parameters' dtype."""
    x, activation, norm = x.to(parameters.W_in), bottleneck.activation, live_norm(bottleneck, parameters)
    for intervention in interventions:
        expect(Intervention, "surgery.KeepLargest(2)", interventions=intervention)
        x, parameters = intervention.on_x(x), intervention.on_parameters(parameters)
        activation, norm = intervention.on_activation(activation), intervention.on_norm(norm)
    pre = preactivation(parameters, x)
    mid = mid_of(dataclasses.replace(bottleneck, activation=activation), pre, gain(parameters, x))
    for intervention in interventions:
        mid = intervention.on_mid(mid, norm)
    return read_out(bottleneck, parameters, Hidden(pre, mid, normed(parameters, mid, norm)))


def norm_statistics(bottleneck: Bottleneck, parameters: Parameters, mid: Tensor) -> tuple[Tensor, Tensor]:
    """The live LayerNorm's mean(a) and 1 / sqrt(var(a) + eps), each [model, 1, batch]; scale 0 where var + eps = 0.

    Raises ``ValueError`` where there is no LayerNorm.
    """
    if bottleneck.layer_norm is None:
        raise ValueError("norm_statistics: expected a model with LayerNorm, got one without")
    assert parameters.ln_eps is not None
    first = mid[:, :1]
    mean = first + (mid - first).mean(1, keepdim=True)
    return mean, reciprocal_deviation(centred(mid), parameters.ln_eps[:, None, None].to(mid.dtype), dim=1)
