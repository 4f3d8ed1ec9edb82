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

from dataclasses import replace
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from toymodels.hosts.host import Host

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
def effective_neurons(host: Host, samples: int) -> Tensor:
    """E [exp H(softmax(z)) | x != 0] / m, in [1/m, 1]: float64 [model]; NaN where no input is other than empty.

    The share of neurons that softmax(z) spreads over, whatever the activation. On the first ``samples`` of the host's
    examples, at most `EFFECTIVE_ON`. NaN of a routed layer, whose neurons are not there all at once.
    """
    if host.bottleneck.experts:
        return torch.full((len(host),), torch.nan, dtype=torch.float64)
    total, filled = torch.zeros(2, len(host), dtype=torch.float64, device=host.parameters.W_in.device)
    for examples in host.batches(0, min(samples, EFFECTIVE_ON), CHUNK):
        log_share = preactivation(host.parameters, examples.x).log_softmax(1)
        entropy = -(log_share.exp() * log_share).sum(1)
        some = examples.x.abs().amax(1) > 0
        total += torch.where(some, entropy.exp(), 0.0).sum(1)
        filled += some.sum(1)
    return total / filled / host.bottleneck.hidden


@undisturbed
def affine_substitution(host: Host, moments: Moments) -> Tensor:
    """How much the loss fraction grows when act(z) becomes A z + c, read-outs refitted: float64 [model].

    ``moments`` are of the host's first examples. On the first half of them A, c and both read-outs are fitted: ridge
    with `PENALTY`, with intercept, to t itself, before ``out``. Both models then run on the `JUDGED_ON` samples that
    follow, or on as many as there are, and are judged by their own output and loss: sum_i I_i E loss(t_i, y_i) over its
    least value for a constant output, of the squared loss sum_i I_i Var(t_i) on the same samples. Where the loss does
    not compare y with t (`compares`), by the squared error of the read-out.

    Exactly 0 where mid is pre. What multiplies act(z), and the choice of the largest, goes with it. Below 0 where the
    layer says more of t without its activation. A row of A is m numbers fitted, so with few samples a neuron A is
    itself a bad fit, and the answer too large. NaN where samples are too few for four folds (fewer than about 250), and
    for a model that is not finite.
    """
    if host.bottleneck.linear:
        return torch.where(moments.cost.sum(1).isfinite(), 0.0, torch.nan).double()
    if len(moments.folds) < FOLDS:
        return torch.full((len(host),), torch.nan, dtype=torch.float64)
    half = together(moments.folds[: FOLDS // 2])
    by = affine_map(half)
    own, affine = _freed(host, host.parameters), _freed(host, substitute(host.parameters, by), substituted=True)
    seen = through(half, by) if host.bottleneck.layer_norm is None else collect(affine, half.samples, folds=1)
    first, samples = half.samples, min(JUDGED_ON, moments.samples - half.samples)
    difference = _fraction(_refitted(affine, seen), first, samples) - _fraction(_refitted(own, half), first, samples)
    return torch.where(difference.isfinite(), difference, torch.nan)


def compares(loss: Loss) -> bool:
    """Whether a loss compares y with t in the units of t: y = t costs nothing. Of logits, as cross-entropy, it does."""
    t = torch.tensor([[[0.0, 1.0, 0.5], [1.0, 0.0, 0.25]]])
    return bool((loss(t, t) == 0).all())


def substitute(parameters: Parameters, by: AffineMap) -> Parameters:
    """The parameters of a model with linear activation whose mid is A z + c: W_in' = A W_in, b_in' = A b_in + c."""
    W_in, dtype = parameters.W_in, parameters.W_in.dtype
    A, b_in = by.A.to(W_in.device), by.c.to(W_in.device)
    if parameters.b_in is not None:
        b_in = b_in + (A @ parameters.b_in.double()[:, :, None])[:, :, 0]
    return replace(parameters, W_in=(A @ W_in.double()).to(dtype), W_out=parameters.decoder, b_in=b_in.to(dtype))


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


def _freed(host: Host, parameters: Parameters, *, substituted: bool = False) -> Host:
    """The host with a read-out of its own, and with a linear activation where it is substituted."""
    comparable = compares(host.cost)

    def freed(b: Bottleneck) -> Bottleneck:
        return replace(
            b.plain if substituted else b,
            activation=Linear() if substituted else b.activation,
            output=b.output if comparable else Linear(),
            hidden_bias=b.hidden_bias or substituted,
            output_bias=True,
            tied=False,
        )

    return host.changed(parameters, freed, loss=None if comparable else Squared())


def _refitted(host: Host, moments: Moments) -> Host:
    """The host with the ridge read-out of post that these samples give."""
    (probe,) = ridge(moments, "post", (PENALTY,))
    p = host.parameters
    read_out = {"W_out": probe.weights.transpose(1, 2).to(p.W_in), "b_out": probe.bias.to(p.W_in)}
    return host.changed(replace(p, **read_out))


def _fraction(host: Host, first: int, samples: int) -> Tensor:
    """The loss fraction on the ``samples`` samples from ``first`` on: float64 [model]."""
    moments = collect(host, samples, first, folds=1)
    constant = None if isinstance(host.cost, Squared) else host.stated_constant_loss()
    if constant is None:
        constant = (host.importance * moments.target_variance).sum(1)
    return torch.where(constant > 0, loss(host, moments) / constant, torch.nan)
