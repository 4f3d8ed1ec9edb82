"""The bottleneck: n features squeezed through m hidden neurons and read out again; and the decoder, its sibling.

    pre  z = W_in x + b_in, or W_in E x + b_in    [model, hidden, batch]
    mid  a = act(z)                               [model, hidden, batch]
    post h = LayerNorm(a), or a                   [model, hidden, batch]
    read-out = W_out h + b_out                    [model, target, batch]
    out  y = out(read-out)                        [model, target, batch]

Examples are columns, as in the equations, so every product is ``W @ x``. The hidden layer is computed here and nowhere
else: `hidden` is made of `preactivation`, `mid_of` and `normed`, and whatever looks at a part of it, or changes one,
calls these. With ``activation`` linear, ``tied``, no ``hidden_bias`` and a ReLU output this is the model of Elhage et
al. 2022 (*Toy Models of Superposition*). With an ``embedding`` E the features lie in superposition in a smaller space,
and the neurons read them out of it: the *decoder*, in which the activation has work to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from toymodels.activations import ACTIVATIONS, Activation, Linear, ReLU
from toymodels.checks import Flag, Number, OrNone, Part, Whole, setting, settle
from toymodels.embedding import Embedding
from toymodels.layer_norm import LayerNorm, normalise
from toymodels.roles import OneOf
from toymodels.targets import Target

MAX_HIDDEN = 10**5
ACTIVATION = OneOf(Activation, "ReLU()", names=ACTIVATIONS)
EMBEDDING_AXES = ("embedding", "feature")


@dataclass(frozen=True)
class Bottleneck:
    """The architecture of one model.

    ``init_scale``: W_in ~ N(0, init_scale^2 / hidden), drawn per model; an untied W_out starts at W_in^T /
    init_scale^2, so that no output is born dead. With an embedding of size d W_in ~ N(0, init_scale^2 / d) and W_out ~
    N(0, 1 / hidden), as it is too where what a model must say is not x. ``hidden_bias_start``: where every entry of
    b_in starts; moderately negative ones go with monosemantic neurons (Jermyn, Schiefer, Hubinger 2022).
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
    embedding: Embedding | None = field(
        default=None,
        metadata=setting(
            OrNone(Part(Embedding, "Embedding(16)")),
            "z = W_in E x + b_in, E of so many rows; needs tied = false; W_in ~ N(0, init_scale^2 / d), W_out ~ N(0, "
            "1 / hidden)",
        ),
    )

    def __post_init__(self) -> None:
        settle(self)
        if self.layer_norm is not None and self.hidden < 2:
            raise ValueError(
                "layer_norm: over one neuron it is 0 whatever the input, and nothing is learned: hidden = 2 or more"
            )
        if self.hidden_bias_start and not self.hidden_bias:
            raise ValueError("hidden_bias_start: a hidden bias that starts somewhere needs hidden_bias = true")
        if self.embedding is not None and self.tied:
            raise ValueError(
                "embedding: W_in reads the embedding and W_out says targets, so they cannot be tied: tied = false"
            )

    def check(self, n: int, target: Target) -> None:
        """Raise ``ValueError`` where this cannot read ``n`` features and say what the target asks for."""
        if self.embedding is not None and self.embedding.size > n:
            raise ValueError(
                f"embedding: expected at most as many dimensions as features, {n}, got {self.embedding.size}"
            )
        if self.tied and not target.of_features:
            raise ValueError(
                f"tied: W_out = W_in^T says what each feature is, and target '{target.name}' is not of features: "
                "tied = false"
            )

    @cached_property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """The parameters that training moves, by name, each with its axes after ``model``.

        An axis is ``hidden``, ``feature``, ``embedding`` or ``target``.
        """
        affine = self.layer_norm is not None and self.layer_norm.affine
        inputs = "feature" if self.embedding is None else "embedding"
        axes: dict[str, tuple[str, ...]] = {"W_in": ("hidden", inputs)}
        axes |= {} if self.tied else {"W_out": ("target", "hidden")}
        axes |= {"b_in": ("hidden",)} if self.hidden_bias else {}
        axes |= {"b_out": ("target",)} if self.output_bias else {}
        axes |= {"ln_gain": ("hidden",), "ln_bias": ("hidden",)} if affine else {}
        axes |= {"E": EMBEDDING_AXES} if self.embedding is not None and self.embedding.trained else {}
        return axes

    @cached_property
    def fixed(self) -> Mapping[str, tuple[str, ...]]:
        """The parameters that training leaves alone, as `axes` has the others: LayerNorm's eps, a fixed embedding."""
        eps: dict[str, tuple[str, ...]] = {"ln_eps": ()} if self.layer_norm is not None else {}
        has_fixed = self.embedding is not None and not self.embedding.trained
        return eps | ({"E": EMBEDDING_AXES} if has_fixed else {})

    @cached_property
    def structure(self) -> Hashable:
        """What must be equal for models to train together; all else is each model's own."""
        norm = None if self.layer_norm is None else LayerNorm(affine=self.layer_norm.affine)
        return dataclasses.replace(self, layer_norm=norm, init_scale=1.0, hidden_bias_start=0.0)


@dataclass(frozen=True)
class Parameters:
    """The numbers of a batch of models; what an architecture does not have is None."""

    W_in: Tensor
    """[model, hidden, feature]; [model, hidden, embedding] of a decoder"""
    W_out: Tensor | None = None
    """[model, target, hidden]; None when tied, for then it is W_in^T"""
    b_in: Tensor | None = None
    """[model, hidden]"""
    b_out: Tensor | None = None
    """[model, target]"""
    ln_gain: Tensor | None = None
    """[model, hidden]"""
    ln_bias: Tensor | None = None
    """[model, hidden]"""
    ln_eps: Tensor | None = None
    """[model], float64; a setting, not trained"""
    E: Tensor | None = None
    """[model, embedding, feature], the embedding of a decoder"""

    @property
    def decoder(self) -> Tensor:
        """W_out, or W_in^T when tied: [model, target, hidden]."""
        return self.W_in.transpose(1, 2) if self.W_out is None else self.W_out

    def trained(self, bottleneck: Bottleneck) -> dict[str, Tensor]:
        """The tensors that training moves in this architecture, by name."""
        present = self.present()
        return {name: present[name] for name in bottleneck.axes}

    def present(self) -> dict[str, Tensor]:
        """The tensors this architecture has, by name."""
        named = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return {name: tensor for name, tensor in named if tensor is not None}

    def __getitem__(self, models: slice | Tensor | Sequence[int]) -> Parameters:
        """The parameters of some of the models."""
        return Parameters(**{name: tensor[models] for name, tensor in self.present().items()})

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Parameters:
        """On another device or in another precision (``ln_eps`` stays float64)."""
        kept = {"ln_eps": torch.float64}
        return Parameters(**{name: each.to(device, kept.get(name, dtype)) for name, each in self.present().items()})


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


def directions(parameters: Parameters) -> Tensor:
    """What one unit of each feature adds to the pre-activations, W_in or W_in E: [model, hidden, feature]."""
    return parameters.W_in if parameters.E is None else parameters.W_in @ parameters.E


def preactivation(parameters: Parameters, x: Tensor) -> Tensor:
    """``pre`` [model, hidden, batch] of x [model, feature, batch]."""
    inputs = x if parameters.E is None else parameters.E @ x
    return _affine(parameters.W_in, inputs, parameters.b_in)


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
