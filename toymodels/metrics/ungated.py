"""Ungated recovery: how much of a feature comes through where no feature of a set is active beside it.

    R^2_i = 1 - E[(t_i - y_i)^2 | none] / Var(t_i | none),   none: no *other* feature of the set is active

With the set of the aligned features this judges the second tier of the two-tier hypothesis in its strong form: a hidden
feature that only comes through when no aligned one is active has, over all data, an R^2 of at most about the chance of
that, which in a dense regime is next to nothing however well it comes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.engines.autograd.moments import CHUNK
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

AT_ONCE = 2**22
"""numbers of x and post of a chunk that are in memory at once, at most: of each about ten"""


@undisturbed
def r2_ungated(host: Host, gates: Tensor, samples: int, *, first: int = 0) -> tuple[Tensor, Tensor]:
    """R^2 of the layer's output given that no other feature of a set is active, for each of some sets.

    ``gates`` bool [set, model, feature] says what is in them. Returns R^2, float64 [set, model, target], at most 1 and
    NaN where t does not vary over what is left; and how many examples of each target are active there, int64 of the
    same axes. On the ``samples`` examples from ``first`` on, a multiple of 4. y is what the loss takes the output to
    predict. With an empty set this is `toymodels.metrics.recovery.r2`. Raises ``ValueError`` for targets that are not
    of features, and for gates of other shape.
    """
    if not host.of_features:
        raise ValueError("expected targets of features, got others: no feature of a set is a target's own")
    if gates.dim() != 3 or gates.shape[1:] != (len(host), host.n_targets):
        expected = f"[set, {len(host)}, {host.n_targets}]"
        raise ValueError(f"gates: expected one bool a set, model and feature, {expected}, got {list(gates.shape)}")
    some = max(1, AT_ONCE // (CHUNK * (host.n_targets + host.bottleneck.hidden)))
    parts = (slice(start, start + some) for start in range(0, len(host), some))
    found = [_of_models(host[part], gates[:, part], samples, first) for part in parts]
    r2, active = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return r2, active


def _of_models(host: Host, gates: Tensor, samples: int, first: int) -> tuple[Tensor, Tensor]:
    """The same of so few models that a chunk of all their samples is in memory at once."""
    W_in = host.parameters.W_in
    in_set = gates.to(W_in.device).transpose(0, 1).to(W_in.dtype)  # [model, set, feature]
    sums: Tensor | float = 0.0
    for examples in host.batches(first, samples, CHUNK):
        y = host.cost.prediction(host.taps(examples.x).out.detach())
        t, active = examples.t, examples.active.to(W_in.dtype)
        error = (t - y).square_()
        how_many = in_set @ active  # [model, set, sample]: features of the set that are active
        none, one = (how_many == 0).to(t.dtype), (how_many == 1).to(t.dtype)
        # No feature of the set at all; or exactly one, which counts where it is the target's own.
        of_chunk = [none.sum(2, keepdim=True) + in_set * (one @ active.transpose(1, 2))]
        for value in (active, t, t.square(), error):
            alone = one @ (value * active).transpose(1, 2)
            of_chunk.append((none @ value.transpose(1, 2)).addcmul_(in_set, alone))
        sums = sums + torch.stack(of_chunk).double()
    assert isinstance(sums, Tensor)
    counts, active, t, tt, error = sums
    variance = tt / counts - (t / counts).square()
    r2 = torch.where(variance > 0, 1 - error / counts / variance, torch.nan)
    return r2.transpose(0, 1).cpu(), active.long().transpose(0, 1).cpu()
