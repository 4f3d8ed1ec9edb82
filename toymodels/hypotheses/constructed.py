"""Constructed models whose answer is known: what the battery must get right before its verdict counts.

W_in is set by hand, the read-out is fitted by ridge. Each construction is a SoLU + LN model (one of them without the
LayerNorm) and its LN-only counterparts: the same columns in a Haar-random basis, which is what they are where the
activation gives the neurons no meaning. Columns are scaled by 1 / E|x_i| given active, so that a lone feature moves the
layer alike under every value law.

A layer whose activation could be left out is *not testable*, whatever else it is. So most constructions hold their
features in antipodal pairs, c and -c: twice as many features as dimensions, which an affine map of the pre-activations
cannot tell apart and an activation can. Those with an axis a feature are there to be called not testable.

Each is looked at in several `Variant`s, which must not change what is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from toymodels.activations import Activation, GeLU, Linear, ReLU, SoLU
from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.embedding import Embedding
from toymodels.features import Features
from toymodels.hosts import Models
from toymodels.hypotheses.answers import Answer
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN, Regime
from toymodels.initialisation import resolved_eps
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.rotations import haar
from toymodels.surgery import refit
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler
from toymodels.values import Values

DENSITY = 0.01
"""P(active) of every feature of a constructed model."""
LARGE, SMALL = 2.5, 1.0
"""Lengths of columns: a lone large feature makes its neuron e^2.5 times as strong in SoLU's softmax as one at 0."""
FAINT = 0.1
"""A size of columns at which SoLU is nearly linear; at .3 it already gates a tenth of an effect beyond the controls."""
HIDDEN_LAYERS: dict[str, Activation] = {
    MAIN: SoLU(),
    **dict(zip(LN_ONLY, (GeLU(), ReLU(), Linear()), strict=True)),
    PLAIN: GeLU(),
}
LAYER_NORM_EPS: dict[str, float | Matched] = {"1e-05": 1e-5, "1e-12": 1e-12, "matched": Matched()}
ROTATION = 2**20
"""Where in the rotation domain of the stream the counterparts' bases are: beyond those of the null."""
LEAST_CONDITION = 100.0
"""The condition number below which an embedding is drawn: W_in = C E^-1 then loses two of float32's seven digits."""


@dataclass(frozen=True)
class Construction:
    """One way of setting W_in by hand, and the answers that are right about it."""

    name: str
    truth: tuple[Answer, ...]
    why: str
    """why these, in a sentence without its full stop"""
    columns: Callable[[np.random.Generator, int], np.ndarray]
    """W_in [hidden, feature] of a generator and a width, which is even"""
    layer_norm: bool = True
    """whether the SoLU model has a LayerNorm; the controls always do"""


@dataclass(frozen=True)
class Variant:
    """A change to a constructed model that changes nothing of what is true of it."""

    name: str
    lost: bool = False
    """whether there are as many features more as there are neurons, whose columns are 0: all of them are lost"""
    affine: bool = False
    """whether LayerNorm has a gain and a bias, random ones: exp(.3 g) and .3 g', g normal"""
    relu: bool = False
    """whether the output is a ReLU, else it is linear"""
    decoder: bool = False
    """whether features come through an embedding E of random unit columns: W_in E = C, exactly"""
    common: float = 0.0
    """v ~ N(0, common^2), of which 1 v' is added to W_in: nothing to linear + LN. To SoLU + LN it is nothing in first
    order only: its softmax does not see it, and mid gains v'x softmax(z), alike in all neurons where z is small"""


VARIANTS = (
    Variant("plain"),
    Variant("more features than neurons", lost=True),
    Variant("gain and bias", affine=True),
    Variant("ReLU output", relu=True),
    Variant("decoder", decoder=True),
    Variant("common to all neurons", common=0.05),
)


def _unit(columns: np.ndarray) -> np.ndarray:
    return columns / np.linalg.norm(columns, axis=0)


def _rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _in_pairs(columns: np.ndarray) -> np.ndarray:
    return np.concatenate([columns, -columns], axis=1)


def _on_two(lengths: np.ndarray) -> np.ndarray:
    """Features j and j + half drive neurons 2j and 2j + 1 against each other: each is read off the one it drives up."""
    return _in_pairs(np.kron(np.diag(lengths), [[1.0], [-1.0]]))


def _two_tiers(
    rng: np.random.Generator, m: int, large: float = LARGE, small: float = SMALL, *, in_pairs: bool = True
) -> np.ndarray:
    """About half of the neurons with a large feature each; small ones, in a random basis of the other neurons."""
    aligned = 2 * (m // 4)
    W = np.zeros((m, m))
    W[:aligned, :aligned] = _on_two(np.full(aligned // 2, large)) if in_pairs else large * np.eye(aligned)
    W[aligned:, aligned:] = small * _rotation(rng, m - aligned)
    return W[rng.permutation(m)]


def _hierarchy(rng: np.random.Generator, m: int) -> np.ndarray:
    """Pairs in random directions, a third of them large and two thirds small."""
    W = _unit(rng.standard_normal((m, m // 2)))
    return _in_pairs(W * np.where(np.arange(m // 2) < m // 6, LARGE, SMALL))


def _doubled(rng: np.random.Generator, m: int) -> np.ndarray:
    Q = _rotation(rng, m // 2)
    return _in_pairs(SMALL * np.concatenate([Q, -Q]) / np.sqrt(2))


CONSTRUCTIONS = (
    Construction(
        "two tiers",
        (Answer.TWO_TIERS,),
        "half are in a neuron each, the rest in none, small beside them at mid, and as large at post where alone",
        _two_tiers,
    ),
    Construction(
        "two tiers, an axis each",
        (Answer.NOT_TESTABLE,),
        "as many features as dimensions: an affine map of z reads them as well",
        lambda rng, m: _two_tiers(rng, m, in_pairs=False),
    ),
    Construction(
        "one tier, aligned",
        (Answer.NO_SECOND_TIER,),
        "each feature has the neuron that it drives upwards, and none is elsewhere",
        lambda rng, m: _on_two(rng.uniform(2, 5, m // 2))[rng.permutation(m)],
    ),
    Construction(
        "all superposed",
        (Answer.NO_FIRST_TIER,),
        "directions are random, so no neuron stands for a feature beyond what rotations give",
        lambda rng, m: _in_pairs(LARGE * _unit(rng.standard_normal((m, m // 2)))),
    ),
    Construction(
        "amplitudes without alignment",
        (Answer.NO_FIRST_TIER,),
        "two sizes, but in random directions: no neuron stands for a feature beyond what rotations give",
        _hierarchy,
    ),
    Construction(
        "bimodal without LN",
        (Answer.CONTINUUM,),
        "two groups by alignment, but no LayerNorm that rescales the small ones, and none that they need",
        _two_tiers,
        layer_norm=False,
    ),
    Construction(
        "bimodal, equal amplitudes",
        (Answer.CONTINUUM, Answer.NOT_TESTABLE),
        "two groups by alignment, of one size, where SoLU is all but linear: nothing is suppressed, if it is testable",
        lambda rng, m: _two_tiers(rng, m, FAINT, FAINT),
    ),
    Construction(
        "identity",
        (Answer.NOT_TESTABLE,),
        "a feature a neuron and a dimension: an affine map of z reads them as well",
        lambda rng, m: LARGE * np.eye(m),
    ),
    Construction(
        "non-negative shear",
        (Answer.NOT_TESTABLE, Answer.NO_SECOND_TIER),
        "an affine map undoes a shear; where SoLU's effect on amplitudes counts for something, each has its neuron",
        lambda rng, m: SMALL * (np.eye(m) + 0.5 * np.eye(m, k=1)),
    ),
    Construction(
        "doubled code",
        (Answer.NO_FIRST_TIER,),
        "Q and -Q of a random basis: no neuron stands for a feature beyond what rotations give",
        _doubled,
    ),
)


@undisturbed
def regime(
    construction: Construction,
    hidden: int,
    values: Values,
    seeds: Sequence[int],
    eps: str,
    variant: Variant = VARIANTS[0],
    *,
    counterparts: bool = True,
) -> Regime:
    """The arms of a construction at one LayerNorm eps, one model a seed; without ``counterparts`` SoLU's alone."""
    columns = np.stack([_columns(construction, variant, seed, hidden) for seed in seeds]) / values.mean
    turned = haar(np.asarray(seeds), hidden, ROTATION).numpy() @ columns
    arms = {}
    for name, activation in HIDDEN_LAYERS.items():
        if name == MAIN or counterparts:
            layer_norm = construction.layer_norm if name == MAIN else name != PLAIN
            norm = LayerNorm(LAYER_NORM_EPS[eps], affine=variant.affine) if layer_norm else None
            bottleneck = Bottleneck(hidden, activation, norm, ReLU() if variant.relu else Linear(), tied=False)
            arms[name] = _arm(columns if name == MAIN else turned, bottleneck, variant, values, seeds)
    return Regime(f"{construction.name}, {variant.name}, {values.name} values, {hidden} neurons", arms)


def _columns(construction: Construction, variant: Variant, seed: int, hidden: int) -> np.ndarray:
    """What a unit of each feature adds to the pre-activations, before what is `Variant.common`: [hidden, feature]."""
    W = construction.columns(np.random.default_rng([seed, hidden]), hidden)
    return np.concatenate([W, np.zeros((hidden, hidden))], axis=1) if variant.lost else W


def _arm(columns: np.ndarray, bottleneck: Bottleneck, variant: Variant, values: Values, seeds: Sequence[int]) -> Models:
    n = columns.shape[2]
    rngs = [np.random.default_rng([seed, bottleneck.hidden, 2]) for seed in seeds]

    def normals(size: int) -> np.ndarray:
        return np.stack([rng.standard_normal(size) for rng in rngs])

    W_in, E = columns + variant.common * normals(n)[:, None, :] / values.mean, None
    if variant.decoder:
        bottleneck = replace(bottleneck, embedding=Embedding(n))
        E = np.stack([_embedding(rng, n) for rng in rngs])
        W_in = W_in @ np.linalg.inv(E)
    named = {"W_in": W_in, "E": E, "b_out": np.zeros((len(seeds), n)), "W_out": columns.transpose(0, 2, 1)}
    if variant.affine and bottleneck.layer_norm is not None:
        named |= {"ln_gain": np.exp(0.3 * normals(bottleneck.hidden)), "ln_bias": 0.3 * normals(bottleneck.hidden)}
    parameters = Parameters(**{k: torch.from_numpy(np.float32(v)) for k, v in named.items() if v is not None})
    experiments = [Experiment(Features(n, DENSITY, values=values), bottleneck, seed=seed) for seed in seeds]
    if bottleneck.layer_norm is not None:
        eps = resolved_eps([e.bottleneck for e in experiments], parameters, sampler(experiments))
        parameters = replace(parameters, ln_eps=eps)
    return refit(Models(experiments, parameters))


def _embedding(rng: np.random.Generator, n: int) -> np.ndarray:
    """n random unit columns of n dimensions, drawn again until their condition number is below `LEAST_CONDITION`."""
    while True:
        E = _unit(rng.standard_normal((n, n)))
        if np.linalg.cond(E) < LEAST_CONDITION:
            return E
