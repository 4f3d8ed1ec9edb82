"""Effective maps: from features to read-outs, as an example's mask and LayerNorm scale leave the layer.

    y = B x + c,    B = W_out diag(gain) r0 (I - 1 1'/m) diag(s0) W_in E,    c likewise of b_in, + W_out bias + b_out

s0 is the mask and r0 the scale of an example x0; without LayerNorm gain, r0 and the centring are not there. Features
are the nearest privileged basis on either side of the layer, and with s0 and r0 frozen nothing stands between them but
B. It is exact at x0, and wherever mask and scale are what they are there: a ReLU layer is one such map a mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, directions, hidden
from toymodels.hypotheses.linearisation.levels import mask_of
from toymodels.surgery import norm_statistics


@dataclass(frozen=True)
class EffectiveMaps:
    """x -> B x + c, one a model and example at which it is exact."""

    B: Tensor
    """[model, point, target, feature]"""
    c: Tensor
    """[model, point, target]"""

    def __call__(self, x: Tensor) -> Tensor:
        """The read-out of each map on x [model, feature, batch]: [model, point, target, batch]."""
        return torch.einsum("kptf,kfb->kptb", self.B, x) + self.c[:, :, :, None]


def effective_maps(bottleneck: Bottleneck, parameters: Parameters, at: Tensor) -> EffectiveMaps:
    """The maps that mask and scale of the examples ``at`` [model, feature, point] leave."""
    there = hidden(bottleneck, parameters, at.to(parameters.W_in))
    weights, reading = mask_of(bottleneck.activation, there.pre), parameters.decoder
    c = torch.zeros_like(reading[:, :, 0]) if parameters.b_out is None else parameters.b_out
    if bottleneck.layer_norm is not None:
        weights = weights * norm_statistics(bottleneck, parameters, there.mid)[1]
        if parameters.ln_gain is not None and parameters.ln_bias is not None:
            c = c + (reading @ parameters.ln_bias[:, :, None])[:, :, 0]
            reading = reading * parameters.ln_gain[:, None, :]
        reading = reading - reading.mean(2, keepdim=True)
    through = reading[:, None] * weights.transpose(1, 2)[:, :, None, :]
    c = c[:, None].expand(-1, weights.shape[2], -1)
    if parameters.b_in is not None:
        c = c + (through @ parameters.b_in[:, None, :, None])[:, :, :, 0]
    return EffectiveMaps(through @ directions(parameters)[:, None], c)
