"""Refitting: the best read-out of a hidden layer as it was operated on."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from toymodels.surgery.interventions import Intervention
from toymodels.surgery.stretches import chunks
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

H = TypeVar("H", bound="Host")


@undisturbed
def refit(host: H, *interventions: Intervention, samples: int = 8192, first: int = 0, penalty: float = 1e-6) -> H:
    """The host with the read-out that fits its targets best, by ridge, as it was operated on.

    W_out = C_th (C_hh + alpha)^+ with C the sums of squares of post and target about their means, alpha = penalty *
    samples * the mean variance of post; b_out is not penalised. A bottleneck without output bias is fitted without
    intercept. t is of the data as drawn, fitted before ``out``. Beside an intercept, a neuron that never varies
    gets weight 0.
    """
    if not penalty >= 0:
        raise ValueError(f"penalty: expected a number >= 0, got {penalty}")
    parameters, output_bias = host.parameters, host.bottleneck.output_bias
    origin: Tensor | None = None
    sums: list[Tensor] = []
    for examples in chunks(host, samples, first):
        h, t = host.taps(examples.x, *interventions).post.double(), examples.t.double()
        if origin is None:
            # Sums about one example lose no digits to the mean: a constant neuron has variance 0, not rounding.
            origin = h[:, :, :1] if output_bias else torch.zeros_like(h[:, :, :1])
        h = h - origin
        new = [h.sum(2), t.sum(2), h @ h.transpose(1, 2), t @ h.transpose(1, 2)]
        sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else new
    assert origin is not None
    h_mean, t_mean, hh, th = sums[0] / samples, sums[1] / samples, sums[2], sums[3]
    variance = hh.diagonal(dim1=1, dim2=2) / samples - h_mean.square()
    alpha = penalty * samples * variance.mean(1).clamp(min=0)
    if output_bias:
        hh = hh - samples * h_mean[:, :, None] * h_mean[:, None, :]
        th = th - samples * t_mean[:, :, None] * h_mean[:, None, :]
    ridge = hh + alpha[:, None, None] * torch.eye(hh.shape[1], dtype=hh.dtype, device=hh.device)
    # One diverged model must not end the batch: its NaN comes back by way of th.
    W_out = th @ torch.linalg.pinv(torch.nan_to_num(ridge), hermitian=True)
    b_out = t_mean - (W_out @ (h_mean[:, :, None] + origin))[:, :, 0]
    fitted = dataclasses.replace(
        parameters,
        W_out=W_out.to(parameters.W_in.dtype),
        b_out=b_out.to(parameters.W_in.dtype) if output_bias else None,
    )
    # A read-out of its own is no longer W_in^T.
    return host.changed(fitted, (lambda b: dataclasses.replace(b, tied=False)) if host.bottleneck.tied else None)
