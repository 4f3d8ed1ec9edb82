"""Budget: what an architecture costs, in numbers that it keeps and in numbers that an example is multiplied by.

With m neurons that read d inputs (the embedding, or features) and say T targets, B blocks, E experts, k kept:

    parameters       m d / B + T m + m [b_in] + T [b_out] + 2 m [LayerNorm] + (m d / B + m [b_gate]) [gated] + E d
    multiply-adds    m d / B (1 + [gated]) / E + T min(k, m / E) + E d

where what is not there counts 0 parameters, B and E count as 1 and k as m in what is divided. A neuron's products are
taken where its expert is chosen, and its read-out where it is kept; to find the largest all of them are computed first.
Elementwise work (biases, activation, LayerNorm, gates) is of order m and left out, and so is E x: what embeds the
features is there before the layer and the same for all; where it is trained its d n numbers are parameters.

A neuron that is 0 has a read-out of products with 0, which count. A program that skips them spares a ReLU layer most of
what keeping the largest spares by design: T times how many neurons are not 0 (`active_neurons`) is then what is done.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from toymodels.engines.autograd.moments import CHUNK
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

IN_BLOCKS = ("W_in", "W_gate")


@dataclass(frozen=True)
class Budget:
    """What one model of an architecture costs."""

    parameters: int
    """numbers that training moves"""
    multiply_adds: int
    """of one example, forwards"""
    read_out: int
    """of these, the read-out's"""


def budget(e: Experiment) -> Budget:
    """The budget of an experiment's architecture."""
    b, sizes = e.bottleneck, asdict(e.sizes)
    blocks, experts = max(b.blocks, 1), max(b.experts, 1)
    counts = {
        name: math.prod(sizes[axis] for axis in axes) // (blocks if name in IN_BLOCKS else 1)
        for name, axes in b.axes.items()
    }
    read = sum(counts.get(name, 0) for name in IN_BLOCKS) // experts
    kept = min(b.top_k or b.hidden, b.hidden // experts)
    said = sizes["target"] * kept
    return Budget(sum(counts.values()), read + said + counts.get("W_router", 0), said)


@undisturbed
def active_neurons(host: Host, samples: int) -> Tensor:
    """How many neurons of an example are not 0 at mid, the mean over the first ``samples`` of the host's examples:
    float64 [model]."""
    total = torch.zeros(len(host), dtype=torch.float64)
    for examples in host.batches(0, samples, CHUNK):
        total += (host.taps(examples.x).mid != 0).sum((1, 2)).cpu()
    return total / samples
