"""Routing: how a layer's experts share the examples, and what their neurons say where they work.

    balance            - sum_e f_e log f_e / log E,    f_e the share of examples of expert e
    given its expert   max_k R^2 of the best affine read-out of t_i from post_k, over the examples of k's expert
    home               max_e P(e | feature i is active)

Over all data a neuron of an expert is silent wherever another expert works, so that it cannot follow a feature that is
sent to several: `best_neuron_r2` then is at most about the share that its expert gets. Given its expert it can. Where
there is no router all neurons are of one expert that does everything. Examples are non-empty ones: of nothing at all
every expert is as good, and which one it is sent to says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, read
from toymodels.engines.autograd.moments import CHUNK
from toymodels.gains import probabilities
from toymodels.metrics.recovery import ENOUGH
from toymodels.surroundings import undisturbed

if TYPE_CHECKING:
    from toymodels.hosts.host import Host


@dataclass(frozen=True)
class Routing:
    """What the router of each model does, on fresh data."""

    balance: Tensor
    """float64 [model], 1 where all experts get as much, 0 where one gets all; NaN with fewer than two experts"""
    given_its_expert: Tensor
    """float64 [model, feature]; of experts with at least `ENOUGH` active examples of it, NaN where there is none"""
    home: Tensor
    """float64 [model, feature], from 1 / experts to 1; NaN for a feature never seen"""


@undisturbed
def routing(host: Host, samples: int, first: int = 0) -> Routing:
    """The routing of a host's layers, on the ``samples`` examples from ``first`` on, a multiple of 4. Raises
    ``ValueError`` for targets that are not of features."""
    if not host.of_features:
        raise ValueError("expected targets of features, whose experts are asked for, got others")
    experts, dtype = max(host.bottleneck.experts, 1), host.parameters.W_in.dtype
    sums: list[Tensor] = []
    for examples in host.batches(first, samples, CHUNK):
        x, t, post = examples.x, examples.t, host.taps(examples.x).post
        active, filled = examples.active.to(dtype), (x != 0).any(1, keepdim=True).to(dtype)
        works = _works(host.parameters, x) * filled  # [model, expert, sample]
        in_expert = works.repeat_interleave(post.shape[1] // experts, dim=1) * post
        of_chunk = [
            works.sum(2),
            works @ active.transpose(1, 2),
            works @ t.transpose(1, 2),
            works @ t.square().transpose(1, 2),
            in_expert.sum(2),
            in_expert.square().sum(2),
            in_expert @ t.transpose(1, 2),
        ]
        of_chunk = [each.double() for each in of_chunk]
        sums = [a + b for a, b in zip(sums, of_chunk, strict=True)] if sums else of_chunk
    count, active, t, tt, p, pp, pt = (each.cpu() for each in sums)

    def of_neurons(of_experts: Tensor) -> Tensor:
        return of_experts.repeat_interleave(p.shape[1] // experts, dim=1)

    n = of_neurons(count)
    mean_t, mean_p = of_neurons(t) / n[:, :, None], p / n
    covariance = pt / n[:, :, None] - mean_p[:, :, None] * mean_t
    varying = (pp / n - mean_p.square())[:, :, None] * (of_neurons(tt) / n[:, :, None] - mean_t.square())
    r2 = torch.where(varying > 0, covariance.square() / varying, 0.0).clamp(max=1)
    enough = of_neurons(active) >= ENOUGH
    given = torch.where(enough, r2, -1.0).amax(1)
    share = count / count.sum(1, keepdim=True)
    entropy = torch.special.entr(share).sum(1)
    several = torch.log(torch.tensor(float(experts))) if experts > 1 else torch.nan
    seen = active.sum(1)
    return Routing(
        balance=entropy / several,
        given_its_expert=torch.where(enough.any(1), given, torch.nan),
        home=torch.where(seen > 0, active.amax(1) / seen, torch.nan),
    )


def _works(parameters: Parameters, x: Tensor) -> Tensor:
    """1 where an expert works on an example, 0 elsewhere: [model, expert, sample]; without a router one does all."""
    if parameters.W_router is None:
        return torch.ones_like(x[:, :1])
    p = probabilities(parameters.W_router, read(parameters, x))
    return torch.zeros_like(p).scatter(1, p.argmax(1, keepdim=True), 1.0)
