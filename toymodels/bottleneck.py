"""The bottleneck: n features squeezed through m hidden neurons and read out again.

    pre  z = W_in x + b_in                    [model, hidden, batch]
    mid  a = act(z)                           [model, hidden, batch]
    post h = LayerNorm(a), or a               [model, hidden, batch]
    read-out = W_out h + b_out                [model, feature, batch]
    out  y = out(read-out)                    [model, feature, batch]

Examples are columns, as in the equations, so every product is ``W @ x``. The hidden layer is computed here and nowhere
else: `hidden` is made of `preactivation`, `mid_of` and `normed`, and whatever looks at a part of it, or changes one,
calls these. With ``activation`` linear, ``tied``, no
``hidden_bias`` and a ReLU output this is the model of Elhage et al. 2022 (*Toy Models of Superposition*).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from toymodels import random
from toymodels.activations import ACTIVATIONS, Activation, Linear, ReLU
from toymodels.checks import Flag, Number, OrNone, Part, Whole, setting, settle
from toymodels.data import Samples
from toymodels.layer_norm import MATCHED_FRACTION, LayerNorm, Matched, normalise
from toymodels.random import Domain
from toymodels.roles import OneOf
from toymodels.surroundings import undisturbed

MATCHING_SAMPLES = 4096
MAX_HIDDEN = 10**5
ACTIVATION = OneOf(Activation, "ReLU()", names=ACTIVATIONS)


@dataclass(frozen=True)
class Bottleneck:
    """The architecture of one model.

    ``init_scale``: W_in ~ N(0, init_scale^2 / hidden), drawn per model; an untied W_out starts at W_in^T /
    init_scale^2, so that no output is born dead. ``hidden_bias_start``: where every entry of b_in starts; moderately
    negative ones go with monosemantic neurons (Jermyn, Schiefer, Hubinger 2022).
    """

    hidden: int = field(metadata=setting(Whole(1, MAX_HIDDEN), "how many neurons the hidden layer has"))
    activation: Activation = field(
        default_factory=Linear, metadata=setting(ACTIVATION, "of the hidden layer: pre to mid")
    )
    layer_norm: LayerNorm | None = field(
        default=None,
        metadata=setting(OrNone(Part(LayerNorm, "LayerNorm()")), "whether a LayerNorm follows the activation"),
    )
    output: Activation = field(
        default_factory=ReLU, metadata=setting(ACTIVATION, "of the output; the fused engine has relu and linear")
    )
    output_bias: bool = field(default=True, metadata=setting(Flag(), "whether b_out is trained"))
    tied: bool = field(default=True, metadata=setting(Flag(), "whether W_out = W_in^T"))
    hidden_bias: bool = field(default=False, metadata=setting(Flag(), "whether b_in is trained"))
    init_scale: float = field(
        default=1.0,
        metadata=setting(
            Number(above=0), "W_in ~ N(0, init_scale^2 / hidden); an untied W_out starts at W_in^T / init_scale^2"
        ),
    )
    hidden_bias_start: float = field(
        default=0.0, metadata=setting(Number(), "where every entry of b_in starts; needs hidden_bias")
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.layer_norm is not None and self.hidden < 2:
            raise ValueError(
                "layer_norm: over one neuron it is 0 whatever the input, and nothing is learned: hidden = 2 or more"
            )
        if self.hidden_bias_start and not self.hidden_bias:
            raise ValueError("hidden_bias_start: a hidden bias that starts somewhere needs hidden_bias = true")

    @cached_property
    def structure(self) -> Hashable:
        """What must be equal for models to train together; all else is each model's own."""
        norm = None if self.layer_norm is None else LayerNorm(affine=self.layer_norm.affine)
        return dataclasses.replace(self, layer_norm=norm, init_scale=1.0, hidden_bias_start=0.0)


@dataclass(frozen=True)
class Parameters:
    """The numbers of a batch of models; what an architecture does not have is None."""

    W_in: Tensor
    """[model, hidden, feature]"""
    W_out: Tensor | None = None
    """[model, feature, hidden]; None when tied, for then it is W_in^T"""
    b_in: Tensor | None = None
    """[model, hidden]"""
    b_out: Tensor | None = None
    """[model, feature]"""
    ln_gain: Tensor | None = None
    """[model, hidden]"""
    ln_bias: Tensor | None = None
    """[model, hidden]"""
    ln_eps: Tensor | None = None
    """[model], float64; a setting, not trained"""

    @property
    def decoder(self) -> Tensor:
        """W_out, or W_in^T when tied: [model, feature, hidden]."""
        return self.W_in.transpose(1, 2) if self.W_out is None else self.W_out

    def trained(self) -> dict[str, Tensor]:
        """The tensors that training moves, by name."""
        return {name: tensor for name, tensor in self.present().items() if name != "ln_eps"}

    def present(self) -> dict[str, Tensor]:
        """The tensors this architecture has, by name."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: tensor for name, tensor in named if tensor is not None}

    def __getitem__(self, models: slice | Tensor | Sequence[int]) -> Parameters:
        """The parameters of some of the models."""
        return Parameters(**{name: tensor[models] for name, tensor in self.present().items()})

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Parameters:
        """On another device or in another precision (``ln_eps`` stays float64)."""
        moved = {name: tensor.to(device, dtype) for name, tensor in self.trained().items()}
        return Parameters(**moved, ln_eps=None if self.ln_eps is None else self.ln_eps.to(device))


Norm = Callable[[Tensor], Tensor]
"""(a - mean) scale, of ``a`` [model, hidden, batch], before gain and bias."""


@dataclass(frozen=True)
class Hidden:
    """The hidden layer of one forward pass, at its taps: [model, hidden, batch] each. See the module's equations."""

    pre: Tensor
    mid: Tensor
    post: Tensor


@dataclass(frozen=True)
class Taps(Hidden):
    """One forward pass, at each place where it can be looked at. See the module's equations."""

    readout: Tensor
    out: Tensor


@undisturbed
def initialise(bottlenecks: Sequence[Bottleneck], sampler: Samples, dtype: torch.dtype = torch.float32) -> Parameters:
    """Starting parameters, each model from its own seed alone: never from how many are drawn together.

    The normals are Phi^-1((word + 1/2) / 2^32) of the stream, word (feature, neuron) of domain ``INITIALISATION``.
    """
    first, n_models, n = bottlenecks[0], len(bottlenecks), sampler.n
    uniforms = random.uniforms(sampler.seeds, n, first.hidden, 0, Domain.INITIALISATION)
    scale = np.array([b.init_scale for b in bottlenecks])[:, None, None]
    W_in = ndtri(uniforms).transpose(0, 2, 1) * scale / math.sqrt(first.hidden)
    affine = first.layer_norm is not None and first.layer_norm.affine

    def constant(value: float, size: int, present: bool) -> Tensor | None:
        return torch.full((n_models, size), value, dtype=dtype, device=sampler.device) if present else None

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(sampler.device, dtype)

    parameters = Parameters(
        W_in=tensor(W_in),
        W_out=None if first.tied else tensor((W_in / scale**2).transpose(0, 2, 1)),
        b_in=_bias(bottlenecks, sampler, dtype) if first.hidden_bias else None,
        b_out=constant(0.0, n, first.output_bias),
        ln_gain=constant(1.0, first.hidden, affine),
        ln_bias=constant(0.0, first.hidden, affine),
    )
    if first.layer_norm is None:
        return parameters
    return dataclasses.replace(parameters, ln_eps=resolved_eps(bottlenecks, parameters, sampler))


def _bias(bottlenecks: Sequence[Bottleneck], sampler: Samples, dtype: torch.dtype) -> Tensor:
    """b_in at the start, each model's own: [model, hidden]."""
    start = torch.tensor([b.hidden_bias_start for b in bottlenecks], dtype=dtype, device=sampler.device)
    return start[:, None].repeat(1, bottlenecks[0].hidden)


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
    mid = mid_of(bottlenecks[0], preactivation(parameters, x))
    return torch.where(matched, MATCHED_FRACTION * mid.double().var(1, correction=0).mean(1), eps)


def directions(parameters: Parameters) -> Tensor:
    """What one unit of each feature adds to the pre-activations: [model, hidden, feature]."""
    return parameters.W_in


def preactivation(parameters: Parameters, x: Tensor) -> Tensor:
    """``pre`` [model, hidden, batch] of x [model, feature, batch]."""
    return _affine(parameters.W_in, x, parameters.b_in)


def mid_of(bottleneck: Bottleneck, pre: Tensor) -> Tensor:
    """``mid`` of ``pre``, both [model, hidden, batch]."""
    return bottleneck.activation(pre, dim=1)


def live_norm(bottleneck: Bottleneck, parameters: Parameters) -> Norm | None:
    """LayerNorm without its gain and bias, at each model's own eps; None where there is none."""
    if bottleneck.layer_norm is None:
        return None
    assert parameters.ln_eps is not None
    eps = parameters.ln_eps[:, None, None]
    return lambda a: normalise(a, eps.to(a.dtype), dim=1)


def normed(parameters: Parameters, mid: Tensor, norm: Norm | None) -> Tensor:
    """``post`` of ``mid``, both [model, hidden, batch]: ``norm``, then gain and bias; ``mid`` itself without one."""
    if norm is None:
        return mid
    post = norm(mid)
    if parameters.ln_gain is not None and parameters.ln_bias is not None:
        post = post * parameters.ln_gain[:, :, None] + parameters.ln_bias[:, :, None]
    return post


def hidden_from(bottleneck: Bottleneck, parameters: Parameters, pre: Tensor) -> Hidden:
    """The hidden layer from its pre-activations ``pre`` [model, hidden, batch] on."""
    mid = mid_of(bottleneck, pre)
    return Hidden(pre, mid, normed(parameters, mid, live_norm(bottleneck, parameters)))


def hidden(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Hidden:
    """The hidden layers of a batch of models of one architecture on x [model, feature, batch]."""
    return hidden_from(bottleneck, parameters, preactivation(parameters, x))


def read_out(bottleneck: Bottleneck, parameters: Parameters, layer: Hidden) -> Taps:
    """The second half of `forward`: from the hidden layer to the output."""
    readout = _affine(parameters.decoder, layer.post, parameters.b_out)
    return Taps(layer.pre, layer.mid, layer.post, readout, bottleneck.output(readout, dim=1))


def forward(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Taps:
    """Run a batch of models of one architecture on x ``[model, feature, batch]``."""
    return read_out(bottleneck, parameters, hidden(bottleneck, parameters, x))


def _affine(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    return weight @ x if bias is None else torch.baddbmm(bias[:, :, None], weight, x)
