"""Surgery: trained models run with interventions on the forward pass, all models of a batch at once.

    pre  z = W_in x + b_in                      [model, hidden, batch]      x and the parameters may be changed before
    mid  a = act(z)                             [model, hidden, batch]      act replaced; then a changed
    post h = gain (a - mean) scale + bias       [model, hidden, batch]      mean, scale of LN replaced; or h = a
    read-out = W_out h + b_out                  [model, feature, batch]

An intervention is an object with one hook a place; each place sees the interventions in the order given. Freezing what
depends on x leaves a simpler map which agrees with the model at the point of freezing: with its mask m(z0) frozen the
hidden layer a = m(z0) z is linear, with mean and scale frozen LayerNorm is affine, with both the read-out is affine in
x (as attention is with its pattern frozen: Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*).
What only works through LayerNorm's rescaling is lost when its scale is held constant (Elhage et al. 2022, *Softmax
Linear Units*, ask this of features smuggled through in small activations); two such constants are found here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from toymodels.activations import Activation, Elementwise, SoLU
from toymodels.bottleneck import Bottleneck, Parameters, Taps, read_out
from toymodels.checks import expect
from toymodels.layer_norm import normalise
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure, importances, sampler

CHUNK = 256
"""Samples at once. The search for a scale passes over the same data again and again: this much stays in cache."""
Norm = Callable[[Tensor], Tensor]
"""(a - mean) scale, of a ``[model, hidden, batch]``, before gain and bias."""


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

    def on_mid(self, mid: Tensor) -> Tensor:
        """The hidden layer before LayerNorm, [model, hidden, batch]."""
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
        return torch.where(chosen[..., None], _per_model("value", self.value, x), x)


@dataclass(frozen=True)
class Rotated(Intervention):
    """The hidden basis rotated before the activation: W_in -> Q W_in, b_in -> Q b_in.

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
        Q, b_in = self.Q.to(parameters.W_in), parameters.b_in
        return dataclasses.replace(
            parameters,
            W_in=Q @ parameters.W_in,
            # Spelled out, since a tied read-out would turn with W_in and an untied one would not.
            W_out=parameters.decoder,
            b_in=None if b_in is None else (Q @ b_in[:, :, None])[:, :, 0],
        )


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
    """Only the ``k`` largest |mid| of each example are kept, ties to the lower index; the others are set to 0."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 0:
            raise ValueError(f"k: expected at least 0 neurons, got {self.k}")

    def on_mid(self, mid: Tensor) -> Tensor:
        if self.k >= mid.shape[1]:
            return mid
        order = mid.abs().sort(dim=1, descending=True, stable=True).indices
        return mid.scatter(1, order[:, self.k :], 0.0)


@dataclass(frozen=True)
class Threshold(Intervention):
    """Entries with |mid| < ``size`` are set to 0; ``size`` is a number, or one a model [model]."""

    size: float | Tensor

    def on_mid(self, mid: Tensor) -> Tensor:
        return torch.where(mid.abs() < _per_model("size", self.size, mid), 0.0, mid)


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
            centred = _centred(a) if self.mean is None else a - _per_model("mean", self.mean, a)
            return centred * _per_model("scale", self.scale, a)

        return frozen


@dataclass(frozen=True)
class WithoutNorm(Intervention):
    """LayerNorm removed wholly, gain and bias too: post = mid. The identity where there is none."""

    def on_norm(self, norm: Norm | None) -> None:
        return None


def operate(bottleneck: Bottleneck, parameters: Parameters, x: Tensor, *interventions: Intervention) -> Taps:
    """`forward` under interventions; without any, equal to it bit for bit. x is cast to the parameters' dtype."""
    x, activation, norm = x.to(parameters.W_in), bottleneck.activation, _live_norm(bottleneck, parameters)
    for intervention in interventions:
        expect(Intervention, "surgery.KeepLargest(2)", interventions=intervention)
        x, parameters = intervention.on_x(x), intervention.on_parameters(parameters)
        activation, norm = intervention.on_activation(activation), intervention.on_norm(norm)
    W_in, b_in = parameters.W_in, parameters.b_in
    pre = W_in @ x if b_in is None else torch.baddbmm(b_in[:, :, None], W_in, x)
    mid = activation(pre, dim=1)
    for intervention in interventions:
        mid = intervention.on_mid(mid)
    post = mid if norm is None else norm(mid)
    if norm is not None and parameters.ln_gain is not None and parameters.ln_bias is not None:
        post = post * parameters.ln_gain[:, :, None] + parameters.ln_bias[:, :, None]
    taps = read_out(dataclasses.replace(bottleneck, layer_norm=None), parameters, pre, post)
    return dataclasses.replace(taps, mid=mid)


def norm_statistics(bottleneck: Bottleneck, parameters: Parameters, mid: Tensor) -> tuple[Tensor, Tensor]:
    """The live LayerNorm's mean(a) and 1 / sqrt(var(a) + eps), each [model, 1, batch]; scale 0 where var + eps = 0.

    Raises ``ValueError`` where there is no LayerNorm.
    """
    if bottleneck.layer_norm is None:
        raise ValueError("norm_statistics: expected a model with LayerNorm, got one without")
    assert parameters.ln_eps is not None
    first = mid[:, :1]
    mean = first + (mid - first).mean(1, keepdim=True)
    variance = _centred(mid).square().mean(1, keepdim=True) + parameters.ln_eps[:, None, None].to(mid.dtype)
    return mean, torch.where(variance == 0, 0.0, torch.rsqrt(torch.where(variance == 0, 1.0, variance)))


@undisturbed
def geometric_mean_scale(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    samples: int = 8192,
    first: int = 0,
    interventions: Sequence[Intervention] = (),
) -> Tensor:
    """exp(E log scale) of LayerNorm over evaluation data from sample ``first`` (a multiple of 4): float64 [model].

    Only over non-empty inputs (x != 0 somewhere, as drawn): the rest would rule the mean of sparse data. A scale that
    is 0 or not finite is left out; NaN when nothing is left. Raises ``ValueError`` where there is no LayerNorm.
    """
    bottleneck = _shared(experiments, parameters, samples).bottleneck
    total = count = torch.zeros((), dtype=torch.float64)
    for x in _chunks(experiments, parameters, samples, first):
        mid = operate(bottleneck, parameters, x, *interventions).mid
        scale = norm_statistics(bottleneck, parameters, mid)[1][:, 0].double()
        counted = (x != 0).any(1) & (scale > 0) & scale.isfinite()
        total = total + torch.where(counted, scale, 1.0).log().sum(1)
        count = count + counted.sum(1)
    return torch.exp(total / count)


@undisturbed
def loss_optimal_scale(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    samples: int = 4096,
    first: int = 0,
    interventions: Sequence[Intervention] = (),
) -> Tensor:
    """The constant LayerNorm scale c, its mean live, that minimises sum_i I_i E (t_i - y_i)^2: float64 [model].

    The read-out is affine in c, so the loss is a quadratic in c for a linear output and piecewise so, and not convex,
    for a ReLU: searched on a log grid of factors 2^-5 to 2^5 about the geometric mean, then by golden section between
    the neighbours of the best, to a relative 1e-6 or the precision of the parameters. t is of the data as drawn.
    """
    centre = geometric_mean_scale(experiments, parameters, samples, first, interventions)
    bottleneck, target = experiments[0].bottleneck, experiments[0].target
    importance = torch.from_numpy(importances(experiments)).to(centre.device)

    def losses(exponents: Tensor) -> Tensor:
        """The loss at c = centre 2^exponent, [candidate, model]."""
        total = torch.zeros_like(exponents)
        for x in _chunks(experiments, parameters, samples, first):
            # From the read-outs at c = centre and c = 0. The second is W_out bias + b_out, so one example gives it.
            constant = operate(bottleneck, parameters, x[:, :, :1], *interventions, FrozenNorm(0.0)).readout
            slope = operate(bottleneck, parameters, x, *interventions, FrozenNorm(centre)).readout - constant
            t = target(x)
            for row, factor in zip(total, torch.exp2(exponents), strict=True):
                y = bottleneck.output(torch.addcmul(constant, slope, _per_model("c", factor, x)), dim=1)
                row += ((t - y).square_().sum(2).double() * importance).sum(1)
        return total / samples

    grid = torch.linspace(-5, 5, 41, dtype=torch.float64, device=centre.device)[:, None].expand(41, len(centre))
    best_loss, k = losses(grid).min(0)
    best = grid[k, 0]
    low, high = grid[(k - 1).clamp(min=0), 0], grid[(k + 1).clamp(max=40), 0]
    golden = (math.sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    left_loss, right_loss = losses(torch.stack([left, right]))
    for _ in range(28):
        down = left_loss < right_loss
        low, high = torch.where(down, low, left), torch.where(down, right, high)
        kept, kept_loss = torch.where(down, left, right), torch.where(down, left_loss, right_loss)
        # Not convex: what golden section ends at may be worse than what it passed.
        best, best_loss = torch.where(kept_loss < best_loss, kept, best), torch.minimum(kept_loss, best_loss)
        fresh = torch.where(down, high - golden * (high - low), low + golden * (high - low))
        fresh_loss = losses(fresh[None])[0]
        left, right = torch.where(down, fresh, kept), torch.where(down, kept, fresh)
        left_loss, right_loss = torch.where(down, fresh_loss, kept_loss), torch.where(down, kept_loss, fresh_loss)
    return centre * torch.exp2(best)


@undisturbed
def refit(
    experiments: Sequence[Experiment],
    parameters: Parameters,
    *interventions: Intervention,
    samples: int = 8192,
    first: int = 0,
    penalty: float = 1e-6,
) -> Parameters:
    """The parameters with the read-out that fits the target best, by ridge, for the models as operated on.

    W_out = C_th (C_hh + alpha)^+ with C the sums of squares of post and target about their means, alpha = penalty *
    samples * the mean variance of post; b_out is not penalised. A bottleneck without output bias is fitted without
    intercept. t is of the data as drawn, fitted before ``out``. Beside an intercept, a neuron that never varies
    gets weight 0.
    """
    if not penalty >= 0:
        raise ValueError(f"penalty: expected a number >= 0, got {penalty}")
    shared = _shared(experiments, parameters, samples)
    bottleneck, target = shared.bottleneck, shared.target
    origin: Tensor | None = None
    sums: list[Tensor] = []
    for x in _chunks(experiments, parameters, samples, first):
        h, t = operate(bottleneck, parameters, x, *interventions).post.double(), target(x).double()
        if origin is None:
            # Sums about one example lose no digits to the mean: a constant neuron has variance 0, not rounding.
            origin = h[:, :, :1] if bottleneck.output_bias else torch.zeros_like(h[:, :, :1])
        h = h - origin
        new = [h.sum(2), t.sum(2), h @ h.transpose(1, 2), t @ h.transpose(1, 2)]
        sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else new
    assert origin is not None
    h_mean, t_mean, hh, th = sums[0] / samples, sums[1] / samples, sums[2], sums[3]
    variance = hh.diagonal(dim1=1, dim2=2) / samples - h_mean.square()
    alpha = penalty * samples * variance.mean(1).clamp(min=0)
    if bottleneck.output_bias:
        hh = hh - samples * h_mean[:, :, None] * h_mean[:, None, :]
        th = th - samples * t_mean[:, :, None] * h_mean[:, None, :]
    ridge = hh + alpha[:, None, None] * torch.eye(hh.shape[1], dtype=hh.dtype, device=hh.device)
    # One diverged model must not end the batch: its NaN comes back by way of th.
    W_out = th @ torch.linalg.pinv(torch.nan_to_num(ridge), hermitian=True)
    b_out = t_mean - (W_out @ (h_mean[:, :, None] + origin))[:, :, 0]
    return dataclasses.replace(
        parameters,
        W_out=W_out.to(parameters.W_in.dtype),
        b_out=b_out.to(parameters.W_in.dtype) if bottleneck.output_bias else None,
    )


def _shared(experiments: Sequence[Experiment], parameters: Parameters, samples: int) -> Experiment:
    """An experiment with the bottleneck and the target of them all. Raises ``ValueError`` where there is none."""
    check_one_structure(experiments)
    if len(experiments) != len(parameters.W_in):
        raise ValueError(f"expected parameters of {len(experiments)} models, got {len(parameters.W_in)}")
    if samples < 1:
        raise ValueError(f"samples: expected at least 1, got {samples}")
    return experiments[0]


def _chunks(experiments: Sequence[Experiment], parameters: Parameters, samples: int, first: int) -> Iterator[Tensor]:
    """Evaluation data of the experiments, x [model, feature, at most CHUNK], in the parameters' precision."""
    data = sampler(experiments, str(parameters.W_in.device))
    for start in range(0, samples, CHUNK):
        yield data.evaluation(first + start, min(CHUNK, samples - start)).to(parameters.W_in.dtype)


def _live_norm(bottleneck: Bottleneck, parameters: Parameters) -> Norm | None:
    if bottleneck.layer_norm is None:
        return None
    assert parameters.ln_eps is not None
    eps = parameters.ln_eps[:, None, None]
    return lambda a: normalise(a, eps.to(a.dtype), dim=1)


def _centred(a: Tensor) -> Tensor:
    """a - mean(a), about the first neuron as `normalise` takes it: exactly 0 where all are equal."""
    a = a - a[:, :1]
    return a - a.mean(1, keepdim=True)


def _per_model(name: str, value: float | Tensor, like: Tensor) -> Tensor:
    """A number, [model] or [model, 1, batch], made to broadcast over ``like`` [model, _, batch]."""
    tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if tensor.ndim == 1 and len(tensor) == len(like):
        return tensor[:, None, None]
    if tensor.ndim not in (0, 3):
        raise ValueError(
            f"{name}: expected a number, one a model ({len(like)}) or [model, 1, batch], got {tuple(tensor.shape)}"
        )
    return tensor
