"""Initialisation: where training starts, each model by itself.

A start depends on a model's own seed and settings alone: initialised as a stack, models would start smaller the more of
them train together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.bottleneck import Bottleneck, Parameters, gain, mid_of, preactivation
from toymodels.data import Samples
from toymodels.layer_norm import MATCHED_FRACTION, Matched
from toymodels.random import Domain
from toymodels.sparsity import block_mask
from toymodels.surroundings import undisturbed

MATCHING_SAMPLES = 4096


@undisturbed
def initialise(
    bottlenecks: Sequence[Bottleneck],
    sampler: Samples,
    dtype: torch.dtype = torch.float32,
    n_targets: int | None = None,
) -> Parameters:
    """Starting parameters, each model from its own seed alone: never from how many are drawn together.

    The normals are Phi^-1((word + 1/2) / 2^32) of the stream: of W_in word (input, neuron) of domain
    ``INITIALISATION``, of W_gate those of step 1, of W_router word (input, expert) of step 2; of a W_out that does not
    start at W_in^T, word (target, neuron) of domain ``READ_OUT``. Where ``n_targets`` is None, a model says of each
    feature what it is.
    """
    first, n_models, n = bottlenecks[0], len(bottlenecks), sampler.n
    sizes = {"hidden": first.hidden, "feature": n, "target": n if n_targets is None else n_targets, "embedding": 0}
    sizes["expert"] = first.experts
    E = None
    if first.embedding is not None:
        sizes["embedding"] = first.embedding.size
        E = first.embedding.columns(sampler.seeds, n)
    n_inputs = sizes[first.axes["W_in"][1]]
    scale = np.array([b.init_scale for b in bottlenecks])[:, None, None]

    def read_in(step: int) -> np.ndarray:
        """Starting weights of all neurons from words of this step, [model, hidden, input]."""
        W = _normals(sampler, n_inputs, first.hidden, Domain.INITIALISATION, step).transpose(0, 2, 1) * scale
        W /= math.sqrt(first.hidden if E is None else n_inputs)
        if first.blocks:
            W *= block_mask(first.blocks, first.hidden, n_inputs).numpy() * math.sqrt(first.blocks)
        return W

    W_in = read_in(0)
    W_gate = read_in(1) if first.gated else None
    W_router = None
    if first.experts:
        W_router = _normals(sampler, n_inputs, first.experts, Domain.INITIALISATION, 2).transpose(0, 2, 1)
        W_router /= math.sqrt(n_inputs)
    if E is None and n_targets is None:
        W_out = (W_in / scale**2).transpose(0, 2, 1)
    else:
        W_out = _normals(sampler, sizes["target"], first.hidden, Domain.READ_OUT) / math.sqrt(first.hidden)

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(values, order="C")).to(sampler.device, dtype)

    start = np.array([b.hidden_bias_start for b in bottlenecks])[:, None]
    values = {"W_in": W_in, "W_out": W_out, "b_in": start, "b_out": 0.0, "ln_gain": 1.0, "ln_bias": 0.0, "E": E}
    values |= {"W_gate": W_gate, "b_gate": 0.0, "W_router": W_router}
    named = {
        name: tensor(np.broadcast_to(values[name], (n_models, *(sizes[axis] for axis in axes))))
        for name, axes in {**first.axes, **first.fixed}.items()
        if name != "ln_eps"
    }
    parameters = Parameters(**named)
    if first.layer_norm is None:
        return parameters
    return dataclasses.replace(parameters, ln_eps=resolved_eps(bottlenecks, parameters, sampler))


def _normals(sampler: Samples, rows: int, columns: int, domain: Domain, step: int = 0) -> np.ndarray:
    """Standard normals of each model's seed, word (row, column) of the domain: float64 [model, row, column]."""
    return ndtri(random.uniforms(sampler.seeds, rows, columns, step, domain))


@undisturbed
def resolved_eps(bottlenecks: Sequence[Bottleneck], parameters: Parameters, sampler: Samples) -> Tensor:
    """Each model's eps, float64 [model]; a matched one measured on the first samples of the model's own stream."""
    norms = [b.layer_norm for b in bottlenecks]
    matched = torch.tensor([isinstance(norm.eps, Matched) for norm in norms if norm], device=sampler.device)
    given = [norm.eps if isinstance(norm.eps, float | int) else 0.0 for norm in norms if norm]
    eps = torch.tensor(given, dtype=torch.float64, device=sampler.device)
    if not matched.any():
        return eps
    x = sampler.training(0, MATCHING_SAMPLES).to(parameters.W_in.dtype)
    mid = mid_of(bottlenecks[0], preactivation(parameters, x), gain(parameters, x))
    return torch.where(matched, MATCHED_FRACTION * mid.double().var(1, correction=0).mean(1), eps)
