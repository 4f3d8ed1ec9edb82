"""Ungated recovery: how much of a feature comes through where no feature of a set is active beside it.

    R^2_i = 1 - E[(t_i - y_i)^2 | none] / Var(t_i | none),   none: no *other* feature of the set is active

With the set of the aligned features this judges the second tier of the two-tier hypothesis in its strong form: a hidden
feature that only comes through when no aligned one is active has, over all data, an R^2 of at most about the chance of
that, which in a dense regime is next to nothing however well it comes through.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward
from toymodels.engines.autograd.moments import CHUNK
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure, sampler, target_of

AT_ONCE = 2**22
"""numbers of x and post of a chunk that are in memory at once, at most: of each about ten"""


@undisturbed
def r2_ungated(
    experiments: Sequence[Experiment], parameters: Parameters, gates: Tensor, samples: int, *, first: int = 0
) -> tuple[Tensor, Tensor]:
    """R^2 of the model's output given that no other feature of a set is active, for each of some sets.

    ``gates`` bool [set, model, feature] says what is in them. Returns R^2, float64 [set, model, target], at most 1 and
    NaN where t does not vary over what is left; and how many examples of each target are active there, int64 of the
    same axes. On the ``samples`` samples from ``first`` on, a multiple of 4, of each model's own evaluation stream. y
    is what the loss takes the output to predict. With an empty set this is `toymodels.metrics.recovery.r2`. Raises
    ``ValueError`` for targets that are not of features, and for gates of other shape.
    """
    check_one_structure(experiments)
    e = experiments[0]
    if not e.target.of_features:
        raise ValueError(f"target '{e.target.name}' is not of features: no feature of a set is a target's own")
    if gates.dim() != 3 or gates.shape[1:] != (len(experiments), e.features.n):
        expected = f"[set, {len(experiments)}, {e.features.n}]"
        raise ValueError(f"gates: expected one bool a set, model and feature, {expected}, got {list(gates.shape)}")
    some = max(1, AT_ONCE // (CHUNK * (e.features.n + e.bottleneck.hidden)))
    found = [
        _of_models([experiments[k] for k in models], parameters[models], gates[:, models], samples, first)
        for models in (part.tolist() for part in torch.arange(len(experiments)).split(some))
    ]
    r2, active = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return r2, active


def _of_models(
    experiments: Sequence[Experiment], parameters: Parameters, gates: Tensor, samples: int, first: int
) -> tuple[Tensor, Tensor]:
    """The same of so few models that a chunk of all their samples is in memory at once."""
    e, W_in = experiments[0], parameters.W_in
    data, says = sampler(experiments, W_in.device.type), target_of(experiments)
    in_set = gates.to(W_in.device).transpose(0, 1).to(W_in.dtype)  # [model, set, feature]
    sums: Tensor | float = 0.0
    for begin in range(first, first + samples, CHUNK):
        x = data.evaluation(begin, min(CHUNK, first + samples - begin)).to(W_in.dtype)
        y = e.cost.prediction(forward(e.bottleneck, parameters, x).out.detach())
        t, active = says(x), (x != 0).to(x.dtype)
        error = (t - y).square_()
        how_many = in_set @ active  # [model, set, sample]: features of the set that are active
        none, one = (how_many == 0).to(x.dtype), (how_many == 1).to(x.dtype)
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
