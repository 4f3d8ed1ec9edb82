"""R^2 of single neurons of rotated models by torch operations, the reference.

Products within a chunk have the precision of the parameters; sums over chunks are float64. Neurons are taken about
their value on the first sample, so that one pass loses no digits to a large mean, and one that is constant gives 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toymodels import gains
from toymodels.bottleneck import Bottleneck, Parameters, gate, hidden_from, preactivation, route
from toymodels.engines.autograd.moments import CHUNK
from toymodels.examples import Source
from toymodels.kernels.rotated import STILL
from toymodels.training.experiment import Experiment, examples_of

AT_ONCE = 2**20
"""numbers of post at most that are in memory at once, of one sample chunk: what stays in cache is twice as fast"""


def r2(
    experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
) -> Tensor:
    """float64 [model, draw, target]; see `Engine.rotated_r2`."""
    examples = examples_of(experiments, parameters.W_in)
    return r2_of(experiments[0].bottleneck, parameters, examples, rotations, first, samples)


def r2_of(
    bottleneck: Bottleneck, parameters: Parameters, examples: Source, rotations: Tensor, first: int, samples: int
) -> Tensor:
    """The same of layers of one architecture and any examples."""
    W = parameters.W_in
    models, hidden = W.shape[:2]
    draws = rotations.to(W)
    some = max(1, AT_ONCE // (models * hidden * min(samples, CHUNK)))
    found = [_of_draws(bottleneck, parameters, examples, part, first, samples) for part in draws.split(some)]
    return torch.cat(found, dim=1) if found else W.new_zeros(models, 0, examples(first, 4).t.shape[1]).double()


def _turned(draws: Tensor, values: Tensor) -> Tensor:
    """``values`` [model, hidden, sample] turned by each of the draws: [model x draw, hidden, sample]."""
    return torch.einsum("dkh,mhs->mdks", draws, values).flatten(0, 1)


def _of_draws(
    bottleneck: Bottleneck, parameters: Parameters, examples: Source, draws: Tensor, first: int, samples: int
) -> Tensor:
    """The same of so few draws that all of them are computed at once."""
    models = torch.arange(len(parameters.W_in), device=draws.device)
    each = parameters[models.repeat_interleave(len(draws))]
    shift, sums = None, None
    for start in range(first, first + samples, CHUNK):
        of_chunk = examples(start, min(CHUNK, first + samples - start))
        x, t = of_chunk.x, of_chunk.t
        gated, routed = gate(parameters, x), route(parameters, x)
        gain = gains.product(
            None if gated is None else _turned(draws, gated),
            None if routed is None else routed.repeat_interleave(len(draws), dim=0),
        )
        pre = _turned(draws, preactivation(parameters, x))
        post = hidden_from(bottleneck, each, pre, gain).post
        post = post.unflatten(0, (len(models), len(draws)))
        shift = post[..., :1] if shift is None else shift
        post = post - shift
        added = (
            t.double().sum(2),
            t.double().square().sum(2),
            post.sum(3),
            post.square().sum(3),
            torch.einsum("mdks,mts->mdkt", post, t),
        )
        added = tuple(each.double() for each in added)
        sums = added if sums is None else tuple(a + b for a, b in zip(sums, added, strict=True))
    assert sums is not None
    assert shift is not None
    t, tt, p, pp, pt = (each / samples for each in sums)
    target_variance, variance = (tt - t.square())[:, None], pp - p.square()
    varies = (variance > STILL * (p + shift[..., 0].double()).square())[..., None]
    covariance = pt - p[..., None] * t[:, None, None]
    product = variance[..., None] * target_variance[:, :, None]
    largest = torch.where(varies & (product > 0), covariance.square() / product, 0.0).clamp(max=1).amax(2)
    return torch.where(target_variance > 0, largest, torch.nan)
