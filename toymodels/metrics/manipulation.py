"""Manipulation check: does the activation do anything?

A layer of neurons whose activation could be left out has shown nothing about activations. Two measures say how far a
model is from that, beside `toymodels.metrics.linearity`:

    effective neurons     E [ exp H(softmax(z)) | x != 0 ] / m,    H = -sum_k s_k log s_k in nats
    affine substitution   F(W_out*, x -> LN(A z + c)) - F(W_out*, x -> LN(act(z)))

z are the pre-activations and m the neurons. A z + c is the least-squares affine map of z to act(z); LN stands for the
model's LayerNorm with its gain and bias, or for nothing; W_out* is the best read-out of the layer it reads; and F is a
loss fraction. The first is about SoLU, whose slope is the softmax: near 1 it is z / m, and near 1 / m one neuron at a
time. The second is about any activation, and decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from toymodels.activations import Linear
from toymodels.bottleneck import Bottleneck, Parameters, preactivation
from toymodels.engines.autograd.moments import CHUNK
from toymodels.losses import Loss, Squared
from toymodels.metrics.linearity import AffineMap, affine_map
from toymodels.metrics.loss import loss
from toymodels.metrics.moments import FOLDS, Moments, collect, together
from toymodels.metrics.probe import ridge
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, importances, sampler

ENGAGED = 0.05
"""An arm whose affine substitution is above it is *engaged*: its activation does something. At or below it the arm
cannot show what an activation does to neurons. Fixed before any data was seen."""
EFFECTIVE_ON = 2**13
"""samples, at most, on which effective neurons are counted"""
JUDGED_ON = 2**13
"""samples, at most, on which refitted models are compared: with all that are left it would double what a model costs to
measure"""
PENALTY = 1e-6
"""of a refitted read-out's ridge, in units of the mean variance of a neuron, as in `toymodels.surgery.refit`"""


@undisturbed
def effective_neurons(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Tensor:
    """E [exp H(softmax(z)) | x != 0] / m, in [1/m, 1]: float64 [model]; NaN where no input is other than empty.

    The share of neurons that softmax(z) spreads over, whatever the activation. On the first ``samples`` of the model's
    own evaluation data, at most `EFFECTIVE_ON`. NaN of a routed layer, whose neurons are not there all at once.
    """
    if experiments[0].bottleneck.experts:
        return torch.full((len(experiments),), torch.nan, dtype=torch.float64)
    data, samples = sampler(experiments), min(samples, EFFECTIVE_ON)
    total, filled = torch.zeros(2, len(experiments), dtype=torch.float64)
    for first in range(0, samples, CHUNK):
        x = data.evaluation(first, min(CHUNK, samples - first)).to(parameters.W_in.dtype)
        log_share = preactivation(parameters, x).log_softmax(1)
        entropy = -(log_share.exp() * log_share).sum(1)
        some = x.abs().amax(1) > 0
        total += torch.where(some, entropy.exp(), 0.0).sum(1)
        filled += some.sum(1)
    return total / filled / experiments[0].bottleneck.hidden


@undisturbed
def affine_substitution(experiments: Sequence[Experiment], parameters: Parameters, moments: Moments) -> Tensor:
    """How much the loss fraction grows when act(z) becomes A z + c, read-outs refitted: float64 [model].

    ``moments`` are of these models' first samples. On the first half of them A, c and both read-outs are fitted: ridge
    with `PENALTY`, with intercept, to t itself, before ``out``. Both models then run on the `JUDGED_ON` samples that
    follow, or on as many as there are, and are judged by their own output and loss: sum_i I_i E loss(t_i, y_i) over its
    least value for a constant output, of the squared loss sum_i I_i Var(t_i) on the same samples. Where the loss does
    not compare y with t (`compares`), by the squared error of the read-out.

    Exactly 0 where mid is pre. What multiplies act(z), and the choice of the largest, goes with it. Below 0 where the
    layer says more of t without its activation. A row of A is m numbers fitted, so with few samples a neuron A is
    itself a bad fit, and the answer too large. NaN where samples are too few for four folds (fewer than about 250), and
    for a model that is not finite.
    """
    if experiments[0].bottleneck.linear:
        return torch.where(moments.cost.sum(1).isfinite(), 0.0, torch.nan).double()
    if len(moments.folds) < FOLDS:
        return torch.full((len(experiments),), torch.nan, dtype=torch.float64)
    half = together(moments.folds[: FOLDS // 2])
    by = affine_map(half)
    replaced = substitute(parameters, by)
    own, affine = _freed(experiments, substituted=False), _freed(experiments, substituted=True)
    if experiments[0].bottleneck.layer_norm is None:
        seen = through(half, by)
    else:
        seen = collect(affine, replaced, half.samples, folds=1)
    first, samples = half.samples, min(JUDGED_ON, moments.samples - half.samples)
    without = _fraction(affine, _refitted(replaced, seen), first, samples)
    difference = without - _fraction(own, _refitted(parameters, half), first, samples)
    return torch.where(difference.isfinite(), difference, torch.nan)


def compares(loss: Loss) -> bool:
    """Whether a loss compares y with t in the units of t: y = t costs nothing. Of logits, as cross-entropy, it does."""
    t = torch.tensor([[[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]]])
    return bool((loss(t, t) == 0).all())


def substitute(parameters: Parameters, by: AffineMap) -> Parameters:
    """The parameters of a model with linear activation whose mid is A z + c: W_in' = A W_in, b_in' = A b_in + c."""
    W_in, dtype = parameters.W_in, parameters.W_in.dtype
    b_in = by.c if parameters.b_in is None else by.c + (by.A @ parameters.b_in.double()[:, :, None])[:, :, 0]
    return replace(parameters, W_in=(by.A @ W_in.double()).to(dtype), W_out=parameters.decoder, b_in=b_in.to(dtype))


def through(moments: Moments, by: AffineMap) -> Moments:
    """The moments of post on the same samples if it were A z + c, without a pass over them."""
    A, c = by.A, by.c[:, :, None]
    mean = A @ moments.tap["pre"][:, :, None]
    cross = mean @ c.transpose(1, 2)
    square = A @ moments.tap_tap["pre"] @ A.transpose(1, 2) + cross + cross.transpose(1, 2) + c @ c.transpose(1, 2)
    with_target = A @ moments.tap_target["pre"] + c * moments.t[:, None, :]
    return replace(
        moments, tap={"post": (mean + c)[:, :, 0]}, tap_tap={"post": square}, tap_target={"post": with_target}
    )


def _freed(experiments: Sequence[Experiment], *, substituted: bool) -> list[Experiment]:
    """The experiments of models with a read-out of their own, and with a linear activation where it is substituted."""
    changed: dict[Bottleneck, Bottleneck] = {}
    comparable = compares(experiments[0].cost)
    for b in {e.bottleneck for e in experiments}:
        changed[b] = replace(
            b.plain if substituted else b,
            activation=Linear() if substituted else b.activation,
            output=b.output if comparable else Linear(),
            hidden_bias=b.hidden_bias or substituted,
            output_bias=True,
            tied=False,
        )
    loss = experiments[0].loss if comparable else Squared()
    # Without experts there is no load to balance.
    return [
        replace(e, bottleneck=changed[e.bottleneck], loss=loss, training=replace(e.training, load_balance=0.0))
        for e in experiments
    ]


def _refitted(parameters: Parameters, moments: Moments) -> Parameters:
    """The parameters with the ridge read-out of post that these samples give."""
    (probe,) = ridge(moments, "post", (PENALTY,))
    dtype = parameters.W_in.dtype
    return replace(parameters, W_out=probe.weights.transpose(1, 2).to(dtype), b_out=probe.bias.to(dtype))


def _fraction(experiments: Sequence[Experiment], parameters: Parameters, first: int, samples: int) -> Tensor:
    """The loss fraction on the ``samples`` samples from ``first`` on: float64 [model]."""
    moments = collect(experiments, parameters, samples, first, folds=1)
    if isinstance(experiments[0].loss, Squared):
        constant = (torch.from_numpy(importances(experiments)) * moments.target_variance).sum(1)
    else:
        constant = torch.tensor([e.best_constant_loss() for e in experiments], dtype=torch.float64)
    return torch.where(constant > 0, loss(experiments, moments) / constant, torch.nan)
