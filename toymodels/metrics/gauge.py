"""The gauge: what LayerNorm cannot see, no measure may see.

    LayerNorm(mid + c(x) 1) = LayerNorm(mid),    1 = (1, ..., 1) over the neurons, c any number an input

because the mean over neurons is subtracted first. So in a model with LayerNorm ``mid`` is known up to c(x) 1 only, and
what is said of it must be the same whatever c: each measure is taken of one representative, chosen by the measure.

* *about the median* what is made of sizes |Delta_k| (responses and their nulls, alignment of weights): it makes
  sum_k |Delta_k - c| least, so a feature that moves one neuron is in one neuron, whatever was added to all of them:
  W_in = 2 I and W_in = 2 I + .5 both have alignment 1. About the mean they would have 1/2, as at ``post``.
* *about the mean* what is made of squares (moments, norms, angles): it makes sum_k (mid_k - c)^2 least, it is what
  LayerNorm subtracts, and it is linear: a projection P = I - 11'/m, applied to second moments as well as to samples.

Where the activation is linear mid = pre = W_in x + b_in, so that W_in + 1 v' and b_in + c 1 are the same model for
every v and c, and the columns of W_in are gauged too. Where it is not, W_in + 1 v' is another model.
Of two neurons either choice leaves (a, -a): nothing is ever in one of the two, and every response alignment is 1/2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, directions
from toymodels.layer_norm import about_median, centred
from toymodels.metrics.moments import Moments


def up_to_common(bottleneck: Bottleneck, tap: str) -> bool:
    """Whether a LayerNorm alone reads the tap, so that it is known up to a number common to all neurons."""
    before_norm = tap == "mid" or (tap == "pre" and bottleneck.linear)
    return before_norm and bottleneck.layer_norm is not None


def gauged(bottleneck: Bottleneck, values: Tensor) -> Tensor:
    """``values`` at ``mid`` [model, hidden, ...], about their median over neurons where there is a LayerNorm."""
    return values if bottleneck.layer_norm is None else about_median(values)


def gauged_moments(bottleneck: Bottleneck, moments: Moments) -> Moments:
    """The moments with ``mid`` about its mean over neurons where there is a LayerNorm, and so in their folds.

    P E mid, P E mid t', P E mid mid' P, P E act(z) z'; with a linear activation ``pre``, which is ``mid`` then, as
    well. They are differences of sums over samples, so what is common to all neurons costs digits: a common part c
    times as large as the rest costs c^2 of the precision in which an engine sums.
    """
    if bottleneck.layer_norm is None:
        return moments
    taps = ("mid", "pre") if bottleneck.linear else ("mid",)
    square = {tap: centred(centred(moments.tap_tap[tap], 1), 2) for tap in taps}
    mid_pre = centred(moments.mid_pre, 1)
    return replace(
        moments,
        tap=moments.tap | {tap: centred(moments.tap[tap]) for tap in taps},
        tap_squared=moments.tap_squared | {tap: square[tap].diagonal(dim1=1, dim2=2).clamp(min=0) for tap in taps},
        tap_target=moments.tap_target | {tap: centred(moments.tap_target[tap]) for tap in taps},
        tap_tap=moments.tap_tap | square,
        mid_pre=centred(mid_pre, 2) if "pre" in taps else mid_pre,
        folds=tuple(gauged_moments(bottleneck, fold) for fold in moments.folds),
    )


def gauged_directions(
    bottleneck: Bottleneck, parameters: Parameters, about: Callable[[Tensor], Tensor] = centred
) -> Tensor:
    """`directions` [model, hidden, feature], ``about`` their mean over neurons (or `about_median`) where there is a
    LayerNorm and a linear activation."""
    W = directions(parameters)
    return about(W) if bottleneck.layer_norm is not None and bottleneck.linear else W


def gauged_dimensions(bottleneck: Bottleneck) -> int:
    """How many dimensions `gauged_directions` can span: one less than there are neurons where they are gauged."""
    return bottleneck.hidden - (bottleneck.layer_norm is not None and bottleneck.linear)
