"""Planted models: trained models of the primary regime, moved by degrees to two tiers that are known to be there.

    W_in(s) = (1 - s) W_in + s C A'        E(s) = (1 - s) E + s A S        s from 0, as trained, to 1, the planted model
    LayerNorm's gain and bias move alike, to the mean gain and to 0, and b_in to .3 of itself; W_out, b_out are refitted

    S [axis, feature]       1 and -1 for the two features of an axis
    C [hidden, axis]        what an axis drives: a neuron, or two against each other, in tier one; several in tier two
    A [embedding, axis]     orthonormal, as close as can be to the trained E of the first feature of each axis

At s = 1 feature i adds C S_i to the pre-activations. For K features in tier one of m neurons and d dimensions:

* the K features that single neurons of the trained model say best (each another neuron) move to these neurons, with
  ``drive``: the pre-activation there;
* pairs of other features, those that the trained model says best, get columns of length ``amplitude``, equal in size on
  ``spread`` of the other neurons and of random sign: none has its own neuron;
* the two of a pair are antipodal, e_a and -e_a, so that more features than dimensions come through. That takes an
  activation: an affine map of z says x_i - x_j of a pair, and no more. With each feature on an axis of its own the same
  two tiers are *not testable*, as SoLU can be replaced by an affine map (measured: the loss fraction moves by -.02 to
  .03, and by .08 to .13 with pairs);
* tier one has an axis a feature, but leaves half of all axes to tier two: of K > d / 2 some are in pairs as well. The
  two of a pair cancel, which is a cost of company that is no gate;
* E of all other features moves to .03 of itself: at .3, where nothing else is active, LayerNorm makes them so large
  in the neurons of tier one that of K = 3 none stays aligned;
* of b_in .3 is left: where it is 0, an input without tiers has no variance but that of the lost features, which
  LayerNorm at eps 1e-12 blows up (nothing is aligned, and its mean scale is 1e6).

The gate is no knob of its own. A feature of tier one makes mid d e^d / Z large, one of tier two a / Z, with drive d,
amplitude a and the sum Z of e^z; LayerNorm makes either length sqrt(m) alone. So in company of tier one a tier-two
feature has a e^-d / d of its effect alone: 2.5 % at the default d = 3, a = 1.5.

`turn` is a negative of the same regime: a trained or planted model with its whole z rotated by degrees, which leaves
every amplitude and takes the meaning of single neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.linalg import expm, logm
from torch import Tensor

from toymodels.activations import Linear, SoLU
from toymodels.bottleneck import Bottleneck
from toymodels.embedding import Embedding
from toymodels.engines import train
from toymodels.features import Features
from toymodels.hosts import Models
from toymodels.hypotheses.constructed import LAYER_NORM_EPS
from toymodels.layer_norm import LayerNorm
from toymodels.metrics.moments import Moments, collect
from toymodels.metrics.recovery import best_neuron, best_neuron_r2, r2
from toymodels.parameters import turned
from toymodels.rotations import haar_about_ones
from toymodels.surgery import refit
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment
from toymodels.training.recipe import Training
from toymodels.training.schedules import Cosine
from toymodels.values import Binary

LEARNING_RATE, INIT_SCALE = 0.04, 2.0
"""What the tuning of `sweeps/two_tiers.toml` chooses for SoLU + LN in its primary regime, at matched eps; at the other
two it chooses a start of 4, within a hundredth of the loss."""
DRIVE, AMPLITUDE, SPREAD = 3.0, 1.5, 9
"""Larger drives are not better: a longer column looks more aligned in any basis (the 99th percentile of its null is .76
at 3, .81 at 5), so that a feature of tier one is less often above all draws. On fewer neurons tier two would be
aligned: with a spread of 6 the best neuron's R^2 is above .3 for half of it at K = 3."""
BIAS, LOST = 0.3, 0.03
"""What is left, at strength 1, of b_in and of the columns of features in neither tier."""
FIT_FROM, FIT_ON = 2**20, 8192
"""The samples by which features are ranked and read-outs fitted: far from those of which a verdict is."""
TURN = 2**21
"""Where in the rotation domain of the stream the bases of `turn` are: beyond the null's and the constructed models'."""


def experiments(seeds: Sequence[int], eps: str, steps: int = 6000) -> list[Experiment]:
    """SoLU + LN of the primary regime of `sweeps/two_tiers.toml`, one experiment a seed, at one LayerNorm eps."""
    bottleneck = Bottleneck(
        32,
        SoLU(),
        LayerNorm(LAYER_NORM_EPS[eps]),
        Linear(),
        tied=False,
        hidden_bias=True,
        init_scale=INIT_SCALE,
        embedding=Embedding(16),
    )
    training = Training(steps=steps, batch=256, learning_rate=LEARNING_RATE, schedule=Cosine())
    return [Experiment(Features(64, 0.02, values=Binary()), bottleneck, training, seed=seed) for seed in seeds]


@undisturbed
def trained(seeds: Sequence[int], eps: str, steps: int = 6000) -> Models:
    """The models of `experiments`, trained: about a third of a second of one core each."""
    of = experiments(seeds, eps, steps)
    return Models(of, train(of, device="cpu").parameters)


@undisturbed
def plant(
    arm: Models,
    aligned: int,
    strength: float,
    *,
    drive: float = DRIVE,
    amplitude: float = AMPLITUDE,
    spread: int = SPREAD,
) -> Models:
    """The decoders of an arm with two tiers planted to this ``strength``, from 0 to 1; ``aligned`` is K.

    Raises ``ValueError`` where there is no room for both tiers.
    """
    p, (m, d) = arm.parameters, arm.parameters.W_in.shape[1:]
    if not 0 <= strength <= 1:
        raise ValueError(f"strength: expected a number from 0 to 1, got {strength}")
    if not (0 < aligned < 2 * d - 1 and spread <= m - aligned):
        raise ValueError(f"aligned: no room for {aligned} features and a second tier in {m} neurons, {d} dimensions")
    E, gain, moments = _there(p.E), _there(p.ln_gain), collect(arm, FIT_ON, FIT_FROM)
    W_planted, E_planted = torch.empty_like(p.W_in), torch.empty_like(E)
    for k, (first, second) in enumerate(tiers(moments, aligned)):
        rng = np.random.default_rng([arm.experiments[k].seed, aligned])
        C, S = _codes(rng, first, second, (m, d, E.shape[2]), (drive, amplitude, spread))
        A = _orthonormal(E[k] @ (S > 0).to(E).T)
        W_planted[k], E_planted[k] = C @ A.T, torch.where((S != 0).any(0), A @ S, LOST * E[k])
    moved = replace(
        p,
        W_in=torch.lerp(p.W_in, W_planted, strength),
        E=torch.lerp(E, E_planted, strength),
        b_in=(1 - (1 - BIAS) * strength) * _there(p.b_in),
        ln_gain=torch.lerp(gain, gain.mean(1, keepdim=True).expand_as(gain), strength),
        ln_bias=(1 - strength) * _there(p.ln_bias),
    )
    return refit(arm.changed(moved), samples=FIT_ON, first=FIT_FROM)


@undisturbed
def turn(arm: Models, strength: float) -> Models:
    """The models of an arm with z rotated by Q^strength, Q Haar-random about 1, one a seed; read-outs are refitted."""
    p, seeds = arm.parameters, np.array([e.seed for e in arm.experiments])
    whole = haar_about_ones(seeds, p.W_in.shape[1], TURN).numpy()
    Q = torch.from_numpy(np.stack([np.real(expm(strength * np.asarray(logm(q)))) for q in whole])).to(p.W_in)
    return refit(arm.changed(turned(p, Q)), samples=FIT_ON, first=FIT_FROM)


def tiers(moments: Moments, aligned: int) -> Iterator[tuple[dict[int, int], list[int]]]:
    """Of each model the neurons of its K features of tier one, by feature, and all other features.

    Tier one are those that single neurons say best, each another neuron; the others come in the order of R^2. Raises
    ``ValueError`` where fewer neurons than K are the best of some feature.
    """
    alone, neuron, whole = best_neuron_r2(moments, "post"), best_neuron(moments, "post"), r2(moments)
    for k in range(len(alone)):
        first: dict[int, int] = {}
        for feature in alone[k].argsort(descending=True).tolist():
            if len(first) < aligned and int(neuron[k, feature]) not in first.values():
                first[feature] = int(neuron[k, feature])
        if len(first) < aligned:
            raise ValueError(f"aligned: only {len(first)} neurons say some feature best, of {aligned}")
        yield first, [feature for feature in whole[k].argsort(descending=True).tolist() if feature not in first]


def _codes(
    rng: np.random.Generator,
    first: Mapping[int, int],
    second: Sequence[int],
    sizes: tuple[int, int, int],
    knobs: tuple[float, float, int],
) -> tuple[Tensor, Tensor]:
    """C [hidden, axis] and S [axis, feature] of one model; ``sizes`` are m, d, n, ``knobs`` as in `plant`."""
    (m, d, n), (drive, amplitude, spread) = sizes, knobs
    of_first = max(-(-len(first) // 2), min(len(first), d - d // 2))
    pairs = min(d - of_first, (m - len(first)) // 2, len(second) // 2)
    C, S = np.zeros((m, of_first + pairs)), np.zeros((of_first + pairs, n))
    for place, (feature, neuron) in enumerate(first.items()):
        sign = 1 if place < of_first else -1
        S[place % of_first, feature] = sign
        C[neuron, place % of_first] = sign * drive
    free, used = np.setdiff1d(np.arange(m), list(first.values())), np.zeros(m - len(first))
    for axis in range(pairs):
        S[of_first + axis, [second[axis], second[pairs + axis]]] = 1, -1
        least = np.lexsort((rng.random(len(free)), used))[:spread]  # all neurons are used equally often
        used[least] += 1
        C[free[least], of_first + axis] = amplitude / np.sqrt(spread) * rng.choice([-1, 1], spread)
    return torch.from_numpy(C).float(), torch.from_numpy(S).float()


def _orthonormal(columns: Tensor) -> Tensor:
    """The matrix with orthonormal columns that is nearest to ``columns`` [row, column]: of its polar decomposition."""
    u, _, vt = torch.linalg.svd(columns, full_matrices=False)
    return u @ vt


def _there(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise ValueError("expected decoders with a hidden bias and a LayerNorm with gain and bias")
    return tensor
