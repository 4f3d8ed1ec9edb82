"""P4: the hidden tier (tier two) needs LayerNorm.

    drop_i = R^2_i - R^2_i with LayerNorm's scale held at one constant
    statistic = mean drop over the hidden tier - mean over the neuron tier

at two constants, both taken from other samples: *geometric*, the geometric mean of the scale over non-empty inputs, and
*optimal*, the constant of least loss. Both decide; margin .05. Without LayerNorm there is no scale to hold, and both
are 0. Below 0: it is the neuron tier that needs LayerNorm.

R^2 at the two constants is after the best affine rescaling of each output that turns no sign, max(0, corr(t_i,
y_i))^2, for otherwise the size of the constant rules: on the constructed two-tier model (64 models, both value laws)
R^2 itself calls the *neuron* tier the one that needs LayerNorm at the geometric mean (-7 to -85), because a constant
that suits the many weak inputs makes the strong ones several times too large, which loses nothing that is said. With a
linear output the rescaling takes the constant out again, so that the two are one number; they differ where an output or
a loss is not linear. R^2 as it is, at the optimal constant, was tried as a third and stands beside them: on the
constructed two-tier model with lost features it is -194 at LayerNorm eps 1e-12, where the constant suits what is lost.

Beside them, and not decisive, as well: the rescaled R^2 with only the k = 1, 2, 4
largest |mid| kept and LayerNorm live (about the median over neurons, where a LayerNorm follows: `KeepLargest`). That a
tier lives in small entries shows there only while k is small against the neurons it uses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from toymodels.hosts import Host
from toymodels.hypotheses.evidence import Quantities, SplitSamples
from toymodels.hypotheses.prediction import Prediction
from toymodels.hypotheses.statistics.contrasts import mean_over
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.moments import Moments, collect
from toymodels.metrics.recovery import r2
from toymodels.metrics.tiers import Tier
from toymodels.surgery import KeepLargest, geometric_mean_scale, loss_optimal_scale

H = TypeVar("H", bound=Host)
DECISIVE = ("geometric", "optimal")
AS_IT_IS = "optimal, R² as it is"
KEPT = (1, 2, 4)
KEEPING = tuple(f"keep {k}" for k in KEPT)
BESIDE = (AS_IT_IS, *KEEPING)
SAMPLES = 8192
STRETCH = 256


class NeedsNorm(Prediction):
    """The prediction that without the scale that LayerNorm gives each input hidden features are lost."""

    key = "P4"
    claim = "Tier two needs LayerNorm"
    figure = "p4_needs_norm"
    margin = 0.05
    decisive = DECISIVE
    compares = (Tier.HIDDEN, Tier.NEURON)
    columns: ClassVar = {
        "affine_r2": "live",
        "drop_geometric": "geometric",
        "drop_optimal": "optimal",
        "drop_optimal_r2": AS_IT_IS,
        **{f"drop_keep_{k}": kind for k, kind in zip(KEPT, KEEPING, strict=True)},
    }

    def measure(self, arm: Host, samples: SplitSamples) -> Quantities:
        """The `drops` on the second half of the samples, by constants of the first."""
        return drops(arm, samples.second_half, samples.middle, samples.last)

    def of_arm(self, measured: Quantities, tiers: Tiers) -> Mapping[str, Tensor]:
        """The mean drop over the hidden tier minus that over the neuron tier, [model], by kind of intervention."""
        return {
            kind: mean_over(measured[kind], tiers.hidden) - mean_over(measured[kind], tiers.neuron)
            for kind in (*DECISIVE, *BESIDE)
        }


def rescaled_r2(moments: Moments) -> Tensor:
    """max(0, corr(t_i, y_i))^2, float64 [model, feature]: R^2 after the best affine rescaling that turns no sign; 0 for
    an output that stands still, NaN for a feature never seen."""
    product = (moments.tt + moments.yy - moments.squared_error) / 2
    return _correlation(product, moments.t, moments.y, moments.tt, moments.yy)


def _correlation(ty: Tensor, t: Tensor, y: Tensor, tt: Tensor, yy: Tensor) -> Tensor:
    variances = (tt - t.square()).clamp(min=0), (yy - y.square()).clamp(min=0)
    moves = variances[1] > 1e-12 * yy
    both = variances[0] * variances[1]
    squared = (ty - t * y).clamp(min=0).square() / torch.where(moves & (both > 0), both, torch.inf)
    return torch.where(variances[0] > 0, squared.clamp(max=1), torch.nan)


def held(host: H, scale: Tensor) -> H:
    """The same layers with LayerNorm's scale held at ``scale`` [model]: layers without LayerNorm, as it is affine."""
    p = host.parameters
    gain = torch.ones_like(p.W_in[:, :, 0]) if p.ln_gain is None else p.ln_gain
    W_out = p.decoder * gain[:, None, :] * scale.to(gain)[:, None, None]
    b_out = torch.zeros_like(W_out[:, :, 0]) if p.b_out is None else p.b_out
    if p.ln_bias is not None:
        b_out = b_out + (p.decoder @ p.ln_bias[:, :, None])[:, :, 0]
    without = {"ln_gain": None, "ln_bias": None, "ln_eps": None}
    parameters = dataclasses.replace(p, W_out=W_out - W_out.mean(2, keepdim=True), b_out=b_out, **without)
    return host.changed(parameters, lambda b: dataclasses.replace(b, layer_norm=None, tied=False, output_bias=True))


def drops(host: Host, live: Moments, middle: int, last: int) -> Quantities:
    """The drops by kind, and as ``live`` the rescaled R^2 they start from: [model, feature] each.

    Constants come from samples before ``middle``, R^2 from those up to ``last``, whose moments ``live`` are. Without
    LayerNorm nothing drops when it is held. On the CPU.
    """
    before = rescaled_r2(live)
    found = {"live": before} | {kind: torch.zeros_like(before) for kind in (*DECISIVE, AS_IT_IS)}
    if host.bottleneck.layer_norm is not None:
        geometric = geometric_mean_scale(host, min(SAMPLES, middle))
        optimal = loss_optimal_scale(host, min(2048, middle))
        for name, scale in (("geometric", geometric), ("optimal", optimal)):
            moments = collect(held(host, scale), last - middle, middle)
            found[name] = before - rescaled_r2(moments)
            if name == "optimal":
                found[AS_IT_IS] = r2(live) - r2(moments)
    samples = min(SAMPLES, last - middle)
    samples -= samples % STRETCH if samples > STRETCH else 0
    parts = [_kept(part, middle, samples) for part in host.slices(samples)]
    return found | {name: torch.cat([part[name].cpu() for part in parts]) for name in KEEPING}


def _kept(host: Host, first: int, samples: int) -> Quantities:
    examples = host.examples(first, samples)
    x, t = examples.x, examples.t

    def mean(values: Tensor) -> Tensor:
        """In float32, which sums by halves, over stretches; in float64 over those."""
        return values.unflatten(2, (-1, min(STRETCH, values.shape[2]))).mean(3).mean(2, dtype=torch.float64)

    of_t = mean(t), mean(t * t)

    def explained(output: Tensor) -> Tensor:
        y = host.cost.prediction(output)
        return _correlation(mean(t * y), of_t[0], mean(y), of_t[1], mean(y * y))

    live = explained(host.taps(x).out)
    return {name: live - explained(host.taps(x, KeepLargest(k)).out) for name, k in zip(KEEPING, KEPT, strict=True)}
