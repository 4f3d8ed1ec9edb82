"""Interventions: changes to the forward pass of trained models, each an object with one hook a place.

What they do to a model is in `toymodels.surgery`; a place sees the interventions in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toymodels.activations import Activation, Elementwise, SoLU
from toymodels.bottleneck import Norm
from toymodels.layer_norm import about_median, centred, median
from toymodels.parameters import Parameters, turned


class Intervention:
    """A change to the forward pass. Override the hooks of the places it changes; make it a frozen dataclass."""

    def on_x(self, x: Tensor) -> Tensor:
        """The input, [model, feature, batch]."""
        return x

    def on_parameters(self, parameters: Parameters) -> Parameters:
        """The parameters the model is run with."""
        return parameters

    def on_activation(self, activation: Activation) -> Activation:
        """The hidden layer's activation, called with ``dim=1``."""
        return activation

    def on_mid(self, mid: Tensor, norm: Norm | None) -> Tensor:
        """The hidden layer before LayerNorm, [model, hidden, batch]; ``norm`` is what follows it, None for nothing.

        A LayerNorm cannot see what is added to all neurons alike, so what is done to ``mid`` should not depend on it.
        """
        return mid

    def on_norm(self, norm: Norm | None) -> Norm | None:
        """LayerNorm without its gain and bias; None means that there is none, and no gain and no bias either."""
        return norm


@dataclass(frozen=True)
class Switched(Intervention):
    """Counterfactual input: x_i = value for the given features (0 = off).

    ``features``: indices, or a bool mask [feature] or [model, feature]. ``value``: a number, or one a model [model].
    Raises ``ValueError`` for features the model does not have.
    """

    features: Tensor | Sequence[int]
    value: float | Tensor = 0.0

    def on_x(self, x: Tensor) -> Tensor:
        n_models, n_features = x.shape[:2]
        chosen = torch.as_tensor(self.features, device=x.device)
        if chosen.dtype != torch.bool:
            if chosen.ndim != 1 or not ((chosen >= 0) & (chosen < n_features) & (chosen == chosen.long())).all():
                raise ValueError(f"features: expected indices from 0 to {n_features - 1}, got {self.features}")
            chosen = torch.zeros(n_features, dtype=torch.bool, device=x.device).index_fill(0, chosen.long(), True)
        elif chosen.shape not in {(n_features,), (n_models, n_features)}:
            raise ValueError(
                f"features: expected a mask of shape ({n_features},) or ({n_models}, {n_features}), "
                f"got {tuple(chosen.shape)}"
            )
        return torch.where(chosen[..., None], per_model("value", self.value, x), x)


@dataclass(frozen=True)
class Rotated(Intervention):
    """The hidden basis rotated before the activation: W_in -> Q W_in, b_in -> Q b_in, a gate's weights likewise.

    ``Q`` is [hidden, hidden] or [model, hidden, hidden]. The read-out stays as trained, tied or not: W_out Q' undoes
    the rotation, `refit` finds what is best after it. Raises ``ValueError`` for another shape of Q.
    """

    Q: Tensor

    def on_parameters(self, parameters: Parameters) -> Parameters:
        n_models, n_hidden, _ = parameters.W_in.shape
        if self.Q.shape not in {(n_hidden, n_hidden), (n_models, n_hidden, n_hidden)}:
            raise ValueError(
                f"Q: expected shape ({n_hidden}, {n_hidden}) or ({n_models}, {n_hidden}, {n_hidden}), "
                f"got {tuple(self.Q.shape)}"
            )
        # The read-out is spelled out, since a tied one would turn with W_in and an untied one would not.
        return replace(turned(parameters, self.Q.to(parameters.W_in)), W_out=parameters.decoder)


@dataclass(frozen=True)
class _Masked(Elementwise):
    """f(z) = mask z."""

    mask: Tensor
    name = "masked"

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        return z * self.mask.to(z)

    def derivative(self, z: Tensor) -> Tensor:
        return self.mask.to(z).expand_as(z)


@dataclass(frozen=True)
class FrozenMask(Intervention):
    """act(z) -> z * mask(z0), exact at z = z0. Mask: softmax(z0) for SoLU, else act(z0) / z0, or its limit at z0 = 0.

    ``z0`` is [model, hidden, 1] or [model, hidden, batch]. The limit is the Jacobian's row sum, which is f'(0) for an
    elementwise activation and mask(z0) for every z * mask(z). Raises ``ValueError`` where act(0) != 0, without a mask.
    """

    z0: Tensor

    def __post_init__(self) -> None:
        if self.z0.ndim != 3:
            raise ValueError(f"z0: expected shape [model, hidden, 1 or batch], got {tuple(self.z0.shape)}")

    def on_activation(self, activation: Activation) -> Activation:
        if isinstance(activation, SoLU):
            return _Masked(torch.softmax(self.z0, 1))
        zero, a0 = self.z0 == 0, activation(self.z0, dim=1)
        if (zero & (a0 != 0)).any():
            raise ValueError(f"a mask needs an activation that is 0 at 0, and {activation.name} is not")
        limit = activation.jvp(self.z0, torch.ones_like(self.z0), dim=1)
        return _Masked(torch.where(zero, limit, a0 / torch.where(zero, 1.0, self.z0)))


@dataclass(frozen=True)
class KeepLargest(Intervention):
    """Only the ``k`` largest |mid| of each example are kept, ties to the lower index; the others are set to 0.

    Where a LayerNorm follows, which cannot see what is added to all neurons alike: those ``k`` that are farthest from
    the median over neurons, and the others are set to the median.
    """

    k: int

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ValueError(f"k: expected at least 0 neurons, got {self.k}")

    def on_mid(self, mid: Tensor, norm: Norm | None) -> Tensor:
        if self.k >= mid.shape[1]:
            return mid
        distance, origin = _from_origin(mid, norm)
        if self.k == 0:
            return origin.expand_as(mid).clone()
        least = distance.topk(self.k, dim=1).values[:, -1:]
        above, equal = distance > least, distance == least
        kept = above | (equal & (equal.cumsum(1) <= self.k - above.sum(1, keepdim=True)))
        return torch.where(kept, mid, origin)


@dataclass(frozen=True)
class Threshold(Intervention):
    """Entries with |mid| < ``size`` are set to 0; ``size`` is a number, or one a model [model].

    Where a LayerNorm follows: entries nearer than ``size`` to the median over neurons are set to the median.
    """

    size: float | Tensor

    def on_mid(self, mid: Tensor, norm: Norm | None) -> Tensor:
        distance, origin = _from_origin(mid, norm)
        return torch.where(distance < per_model("size", self.size, mid), origin, mid)


@dataclass(frozen=True)
class OnlyNeurons(Intervention):
    """Every neuron of mid but those ``kept``, bool [model, hidden], is held at its ``rest`` [model, hidden].

    Where a LayerNorm follows, which cannot see what is added to all neurons alike: mid is about its median over neurons
    first, and ``rest`` is meant so.
    """

    kept: Tensor
    rest: Tensor

    def on_mid(self, mid: Tensor, norm: Norm | None) -> Tensor:
        a = mid if norm is None else about_median(mid)
        return torch.where(self.kept[:, :, None], a, self.rest.to(mid)[:, :, None])


@dataclass(frozen=True)
class FrozenNorm(Intervention):
    """LayerNorm's 1 / sqrt(var + eps) replaced by ``scale`` and, where given, its mean over neurons by ``mean``.

    Both are [model] or [model, 1, batch], as from `norm_statistics`, at whose example this is exact. Gain and bias stay
    as trained. Raises ``ValueError`` where there is no LayerNorm.
    """

    scale: float | Tensor
    mean: float | Tensor | None = None

    def on_norm(self, norm: Norm | None) -> Norm:
        if norm is None:
            raise ValueError("FrozenNorm: expected a model with LayerNorm, got one without")

        def frozen(a: Tensor) -> Tensor:
            about_mean = centred(a) if self.mean is None else a - per_model("mean", self.mean, a)
            return about_mean * per_model("scale", self.scale, a)

        return frozen


@dataclass(frozen=True)
class WithoutNorm(Intervention):
    """LayerNorm removed wholly, gain and bias too: post = mid. The identity where there is none."""

    def on_norm(self, norm: Norm | None) -> None:
        return None


def _from_origin(mid: Tensor, norm: Norm | None) -> tuple[Tensor, Tensor]:
    """How far each entry of ``mid`` is from what counts as nothing, and that, [model, 1, batch]: 0, or the median."""
    if norm is None:
        return mid.abs(), torch.zeros_like(mid[:, :1])
    return about_median(mid).abs(), median(mid)


def per_model(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """A number, [model] or [model, 1, batch], made to broadcast over ``like`` [model, _, batch]."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if tensor.ndim == 1 and len(tensor) == len(like):
        return tensor[:, None, None]
    if tensor.ndim not in (0, 3):
        raise ValueError(
            f"{name}: expected a number, one a model ({len(like)}) or [model, 1, batch], got {tuple(tensor.shape)}"
        )
    return tensor
