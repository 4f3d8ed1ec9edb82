"""The layer as a PyTorch module, whose taps are submodules: forward hooks see what passes there, and can change it.

    hook_x          x [batch, feature]
    hook_embedded   E x [batch, embedding], of a decoder
    hook_pre        z [batch, hidden]
    hook_gain       what multiplies act(z) [batch, hidden], of a gated or routed layer
    hook_mid        a [batch, hidden]
    ln.hook_centred     a - mean(a) [batch, hidden], of a layer with LayerNorm
    ln.hook_rstd        1 / sqrt(var(a) + eps) [batch, 1], of the centred a as the hook before left it
    ln.hook_normalized  their product [batch, hidden], before gain and bias
    hook_post       h [batch, hidden]
    hook_readout    W_out h + b_out [batch, target]
    hook_out        y [batch, target]

Here examples are rows, as PyTorch's modules and sparse autoencoders have them; the equations are those of
`toymodels.bottleneck`, whose functions compute them. A forward hook that returns a value puts it in the place of what
passed, for all that follows. ``rstd`` is PyTorch's word for what a LayerNorm multiplies by; the ``hook_scale`` of
TransformerLens is its reciprocal, so it has another name here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor, nn

from toymodels.bottleneck import (
    Bottleneck,
    Hidden,
    Parameters,
    gain,
    mid_of,
    normed,
    preactivation,
    read,
    read_out,
)
from toymodels.layer_norm import centred, reciprocal_deviation


class PassingPoint(nn.Module):
    """The identity: a place for hooks."""

    def forward(self, activation: Tensor) -> Tensor:
        return activation


Point = Callable[[], nn.Module]
"""Makes a place for hooks: `PassingPoint`, or what takes its place in another library."""


class HookedNorm(nn.Module):
    """LayerNorm without gain and bias, of mid [model = 1, hidden, batch], with hooks between its steps."""

    def __init__(self, point: Point) -> None:
        super().__init__()
        self.hook_centred, self.hook_rstd, self.hook_normalized = point(), point(), point()

    def forward(self, mid: Tensor, eps: Tensor) -> Tensor:
        about_mean = passed(self.hook_centred, centred(mid))
        rstd = passed(self.hook_rstd, reciprocal_deviation(about_mean, eps.to(mid.dtype), dim=1))
        return passed(self.hook_normalized, about_mean * rstd)


class HookedLayer(nn.Module):
    """One model: y [batch, target] of x [batch, feature]; see the module's list of hooks.

    What is trained are its parameters, by the names of `Parameters` and without the axis ``model``; LayerNorm's eps and
    an embedding that stays as drawn are buffers. x is cast to the precision of the parameters. Raises ``ValueError``
    for x of another shape.
    """

    def __init__(self, bottleneck: Bottleneck, parameters: Parameters, point: Point = PassingPoint) -> None:
        super().__init__()
        if len(parameters.W_in) != 1:
            raise ValueError(f"parameters: expected those of one model, got {len(parameters.W_in)}")
        self.bottleneck = bottleneck
        for name, tensor in parameters.present().items():
            value = tensor[0].detach().clone()
            if name in bottleneck.fixed:
                self.register_buffer(name, value)
            else:
                self.register_parameter(name, nn.Parameter(value))
        self.hook_x, self.hook_pre, self.hook_mid, self.hook_post = point(), point(), point(), point()
        self.hook_readout, self.hook_out = point(), point()
        if parameters.E is not None:
            self.hook_embedded = point()
        if bottleneck.gated or bottleneck.experts:
            self.hook_gain = point()
        if bottleneck.layer_norm is not None:
            self.ln = HookedNorm(point)
        self._names = tuple(parameters.present())
        self._features = parameters.W_in.shape[2] if parameters.E is None else parameters.E.shape[2]

    @property
    def parameters_of_layer(self) -> Parameters:
        """Its numbers as `toymodels.forward` takes them, with the leading axis ``model`` of size 1."""
        return Parameters(**{name: getattr(self, name)[None] for name in self._names})

    @property
    def hook_names(self) -> tuple[str, ...]:
        """The names of its places for hooks, in the order in which they are passed."""
        there = dict(self.named_modules())
        return tuple(name for name in ORDER if name in there)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or x.shape[1] != self._features:
            raise ValueError(f"x: expected shape [batch, {self._features}], got {list(x.shape)}")
        layer, parameters = self.bottleneck, self.parameters_of_layer
        u = passed(self.hook_x, x.to(parameters.W_in.dtype).T.contiguous()[None])
        if parameters.E is not None:
            u = passed(self.hook_embedded, read(parameters, u))
            parameters = dataclasses.replace(parameters, E=None)  # what follows reads the embedding
        pre = passed(self.hook_pre, preactivation(parameters, u))
        factor = gain(parameters, u)
        mid = passed(self.hook_mid, mid_of(layer, pre, None if factor is None else passed(self.hook_gain, factor)))
        norm = None if parameters.ln_eps is None else self._norm(parameters.ln_eps)
        post = passed(self.hook_post, normed(parameters, mid, norm))
        readout = passed(self.hook_readout, read_out(layer, parameters, Hidden(pre, mid, post)).readout)
        return passed(self.hook_out, layer.output(readout, dim=1))[0].T

    def _norm(self, eps: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda mid: self.ln(mid, eps[:, None, None])

    def extra_repr(self) -> str:
        b = self.bottleneck
        norm = "" if b.layer_norm is None else " and LayerNorm"
        return f"{type(b.activation).__name__}{norm}, {self._features} features, {b.hidden} neurons"


ORDER = (
    "hook_x",
    "hook_embedded",
    "hook_pre",
    "hook_gain",
    "hook_mid",
    "ln.hook_centred",
    "ln.hook_rstd",
    "ln.hook_normalized",
    "hook_post",
    "hook_readout",
    "hook_out",
)


def passed(point: nn.Module, columns: Tensor) -> Tensor:
    """[model = 1, axis, batch], once it has passed the hooks of a place as [batch, axis]."""
    return point(columns[0].T).T[None]
