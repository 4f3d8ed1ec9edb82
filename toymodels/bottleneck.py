"""The bottleneck: n features squeezed through m hidden neurons and read out again; and the decoder, its sibling.

    pre  z = W_in x + b_in, or W_in E x + b_in    [model, hidden, batch]
    mid  a = act(z), or act(z) g(x), or the largest of these    [model, hidden, batch]
    post h = LayerNorm(a), or a                   [model, hidden, batch]
    read-out = W_out h + b_out                    [model, target, batch]
    out  y = out(read-out)                        [model, target, batch]

Examples are columns, as in the equations, so every product is ``W @ x``. The hidden layer is computed here and nowhere
else: `hidden` is made of `preactivation`, `mid_of` and `normed`, and whatever looks at a part of it, or changes one,
calls these. What g may be is in `toymodels.gains`. With ``activation`` linear, ``tied``, no ``hidden_bias`` and a ReLU
output this is the model of Elhage et al. 2022 (*Toy Models of Superposition*). With an ``embedding`` E the features lie
in superposition in a smaller space, and neurons read them out of it: the *decoder*, whose activation has work to do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from toymodels import gains
from toymodels.activations import ACTIVATIONS, Activation, Elementwise, Linear, ReLU
from toymodels.checks import Flag, Number, OrNone, Part, Whole, setting, settle
from toymodels.embedding import Embedding
from toymodels.layer_norm import LayerNorm, normalise
from toymodels.parameters import Parameters
from toymodels.roles import OneOf
from toymodels.sparsity import largest
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

    ``blocks``: W_in is block-diagonal (`toymodels.sparsity`); what there is of it starts sqrt(blocks) times as large,
    so that z varies as much. ``top_k``: so many of the largest |mid| are kept, before any LayerNorm. ``gated`` and
    ``experts``: what multiplies act(z) (`toymodels.gains`); W_gate starts as W_in, b_gate at 0, W_router ~ N(0, 1 /
    inputs).
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
    blocks: int = field(
        default=0,
        metadata=setting(Whole(0, MAX_HIDDEN), "how many blocks W_in is, each of a part of the inputs; 0 is dense"),
    )
    top_k: int = field(
        default=0, metadata=setting(Whole(0, MAX_HIDDEN), "how many of the largest |mid| are kept; 0 keeps all")
    )
    experts: int = field(
        default=0,
        metadata=setting(
            Whole(0, MAX_HIDDEN), "how many equal blocks of neurons a router picks one of; 0 is no router"
        ),
    )
    gated: bool = field(
        default=False, metadata=setting(Flag(), "whether mid = act(z) * (W_gate x + b_gate); b_gate if hidden_bias")
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
        for name, count in (("blocks", self.blocks), ("experts", self.experts)):
            if count and self.hidden % count:
                raise ValueError(f"{name}: expected a divisor of hidden, {self.hidden}, got {count}")
        if self.blocks and self.experts:
            raise ValueError("experts: every expert reads all inputs: leave blocks or experts out")
        if self.top_k > self.hidden:
            raise ValueError(f"top_k: expected at most as many as there are neurons, {self.hidden}, got {self.top_k}")
        if self.experts and not (self.layer_norm is None and isinstance(self.activation, Elementwise)):
            raise ValueError(
                "experts: SoLU and LayerNorm are over all neurons, of which an example has one expert's: another "
                "activation, layer_norm = false"
            )

    def check(self, n: int, target: Target) -> None:
        """Raise ``ValueError`` where this cannot read ``n`` features and say what the target asks for."""
        if self.embedding is not None and self.embedding.size > n:
            raise ValueError(
                f"embedding: expected at most as many dimensions as features, {n}, got {self.embedding.size}"
            )
        inputs, of = (n, "features") if self.embedding is None else (self.embedding.size, "the embedding")
        if self.blocks and inputs % self.blocks:
            raise ValueError(f"blocks: expected a divisor of the size of {of}, {inputs}, got {self.blocks}")
        if self.tied and not target.of_features:
            raise ValueError(
                f"tied: W_out = W_in^T says what each feature is, and target '{target.name}' is not of features: "
                "tied = false"
            )

    @cached_property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """The parameters that training moves, by name, each with its axes after ``model``.

        An axis is ``hidden``, ``feature``, ``embedding``, ``expert`` or ``target``.
        """
        affine = self.layer_norm is not None and self.layer_norm.affine
        inputs = "feature" if self.embedding is None else "embedding"
        axes: dict[str, tuple[str, ...]] = {"W_in": ("hidden", inputs)}
        axes |= {} if self.tied else {"W_out": ("target", "hidden")}
        axes |= {"b_in": ("hidden",)} if self.hidden_bias else {}
        axes |= {"b_out": ("target",)} if self.output_bias else {}
        axes |= {"ln_gain": ("hidden",), "ln_bias": ("hidden",)} if affine else {}
        axes |= {"E": EMBEDDING_AXES} if self.embedding is not None and self.embedding.trained else {}
        axes |= {"W_gate": ("hidden", inputs)} if self.gated else {}
        axes |= {"b_gate": ("hidden",)} if self.gated and self.hidden_bias else {}
        axes |= {"W_router": ("expert", inputs)} if self.experts else {}
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

    @property
    def plain(self) -> Bottleneck:
        """The same with nothing but its activation between pre and mid, and W_in dense."""
        return dataclasses.replace(self, blocks=0, top_k=0, experts=0, gated=False)

    @property
    def linear(self) -> bool:
        """Whether mid is pre."""
        return type(self.activation) is Linear and not (self.top_k or self.experts or self.gated)

    @property
    def kinds_of_neurons(self) -> int:
        """How many equal runs of neurons there are that differ in what reaches them, as blocks and experts do: within
        one of them neurons could stand for each other."""
        return max(self.blocks, self.experts, 1)


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


def read(parameters: Parameters, x: Tensor) -> Tensor:
    """u [model, input, batch], what neurons read of x [model, feature, batch]: x itself, or E x."""
    return x if parameters.E is None else parameters.E @ x


def preactivation(parameters: Parameters, x: Tensor) -> Tensor:
    """``pre`` [model, hidden, batch] of x [model, feature, batch]."""
    return _affine(parameters.W_in, read(parameters, x), parameters.b_in)


def gate(parameters: Parameters, x: Tensor) -> Tensor | None:
    """W_gate u + b_gate [model, hidden, batch]; None where neurons have no gates."""
    return None if parameters.W_gate is None else _affine(parameters.W_gate, read(parameters, x), parameters.b_gate)


def route(parameters: Parameters, x: Tensor) -> Tensor | None:
    """The chosen expert's probability at its neurons, 0 elsewhere [model, hidden, batch]; None without a router."""
    if parameters.W_router is None:
        return None
    return gains.route(gains.probabilities(parameters.W_router, read(parameters, x)), parameters.W_in.shape[1])


def gain(parameters: Parameters, x: Tensor) -> Tensor | None:
    """What multiplies act(z), [model, hidden, batch] of x [model, feature, batch]; None where nothing does."""
    return gains.product(gate(parameters, x), route(parameters, x))


def mid_of(bottleneck: Bottleneck, pre: Tensor, gain: Tensor | None = None) -> Tensor:
    """``mid`` of ``pre`` and of the layer's `gain`, all [model, hidden, batch].

    Raises ``ValueError`` where the layer has a gain and it is not given: pre alone does not say what mid is.
    """
    if gain is None and (bottleneck.gated or bottleneck.experts):
        raise ValueError("expected a layer whose mid follows from its pre-activations, got one that is gated or routed")
    mid = bottleneck.activation(pre, dim=1)
    mid = mid if gain is None else mid * gain
    return torch.where(largest(mid.abs(), bottleneck.top_k), mid, 0.0) if bottleneck.top_k else mid


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


def hidden_from(bottleneck: Bottleneck, parameters: Parameters, pre: Tensor, gain: Tensor | None = None) -> Hidden:
    """The hidden layer from its pre-activations ``pre`` [model, hidden, batch] on, and its `gain` if it has one."""
    mid = mid_of(bottleneck, pre, gain)
    return Hidden(pre, mid, normed(parameters, mid, live_norm(bottleneck, parameters)))


def hidden(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Hidden:
    """The hidden layers of a batch of models of one architecture on x [model, feature, batch]."""
    return hidden_from(bottleneck, parameters, preactivation(parameters, x), gain(parameters, x))


def read_out(bottleneck: Bottleneck, parameters: Parameters, layer: Hidden) -> Taps:
    """The second half of `forward`: from the hidden layer to the output."""
    readout = _affine(parameters.decoder, layer.post, parameters.b_out)
    return Taps(layer.pre, layer.mid, layer.post, readout, bottleneck.output(readout, dim=1))


def forward(bottleneck: Bottleneck, parameters: Parameters, x: Tensor) -> Taps:
    """Run a batch of models of one architecture on x ``[model, feature, batch]``."""
    return read_out(bottleneck, parameters, hidden(bottleneck, parameters, x))


def _affine(weight: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    return weight @ x if bias is None else torch.baddbmm(bias[:, :, None], weight, x)
