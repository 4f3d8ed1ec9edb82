"""Constructed models whose answer is known: what the battery must get right before its verdict counts.

W_in is set by hand, the read-out is fitted by ridge. Each construction is a SoLU + LN model (one of them without the
LayerNorm) and its LN-only counterparts: the same columns in a Haar-random basis, which is what they are where the
activation gives the neurons no meaning. Only the first has two tiers. Columns are scaled by 1 / E|x_i| given active, so
that a lone feature moves the layer alike under every value law.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from toymodels.activations import Activation, GeLU, Linear, ReLU, SoLU
from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.features import Features
from toymodels.hypotheses.arms import LN_ONLY, MAIN, PLAIN, Arm, Regime
from toymodels.initialisation import resolved_eps
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.rotations import haar
from toymodels.surgery import refit
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, sampler
from toymodels.values import Values

DENSITY = 0.01
"""P(active) of every feature of a constructed model."""
LARGE, SMALL = 4.0, 1.5
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


@dataclass(frozen=True)
class Construction:
    """One way of setting W_in by hand, and whether it has two tiers."""

    name: str
    two_tiers: bool
    columns: Callable[[np.random.Generator, int], np.ndarray]
    """W_in [hidden, feature] of a generator and a width"""
    layer_norm: bool = True
    """whether the SoLU model has a LayerNorm; the controls always do"""


def _unit(columns: np.ndarray) -> np.ndarray:
    return columns / np.linalg.norm(columns, axis=0)


def _rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))


def _two_tiers(rng: np.random.Generator, m: int, large: float = LARGE, small: float = SMALL) -> np.ndarray:
    """A third of the features large in a neuron each; the others small, in a random basis of the other neurons."""
    aligned = m // 3
    W = np.zeros((m, m))
    W[:aligned, :aligned] = large * np.eye(aligned)
    W[aligned:, aligned:] = small * _rotation(rng, m - aligned)
    return W[rng.permutation(m)]


def _hierarchy(rng: np.random.Generator, m: int) -> np.ndarray:
    """Random directions, a third of them large and two thirds small."""
    W = _unit(rng.standard_normal((m, 9 * m // 4)))
    return W * np.where(np.arange(W.shape[1]) < 3 * m // 4, LARGE, SMALL)


def _doubled(rng: np.random.Generator, m: int) -> np.ndarray:
    Q = _rotation(rng, m // 2)
    return LARGE * np.concatenate([Q, -Q]) / np.sqrt(2)


CONSTRUCTIONS = (
    Construction("two tiers", True, _two_tiers),
    Construction("one tier, aligned", False, lambda rng, m: np.eye(m)[:, : m // 2] * rng.uniform(2, 5, m // 2)),
    Construction("all superposed", False, lambda rng, m: LARGE * _unit(rng.standard_normal((m, 3 * m // 2)))),
    Construction("amplitudes without alignment", False, _hierarchy),
    Construction("bimodal without LN", False, _two_tiers, layer_norm=False),
    Construction("bimodal, equal amplitudes", False, lambda rng, m: _two_tiers(rng, m, FAINT, FAINT)),
    Construction("identity", False, lambda rng, m: LARGE * np.eye(m)),
    Construction("non-negative shear", False, lambda rng, m: SMALL * (np.eye(m) + 0.5 * np.eye(m, k=1))),
    Construction("doubled code", False, _doubled),
)


@undisturbed
def regime(construction: Construction, hidden: int, values: Values, seeds: Sequence[int], eps: str) -> Regime:
    """The arms of a construction at one LayerNorm eps, one model a seed."""
    columns = np.stack([construction.columns(np.random.default_rng([seed, hidden]), hidden) for seed in seeds])
    columns /= values.mean
    turned = haar(np.asarray(seeds), hidden, ROTATION).numpy() @ columns
    arms = {}
    for name, activation in HIDDEN_LAYERS.items():
        W = torch.from_numpy((columns if name == MAIN else turned).astype(np.float32))
        layer_norm = construction.layer_norm if name == MAIN else name != PLAIN
        arms[name] = _arm(
            W, activation, LayerNorm(LAYER_NORM_EPS[eps], affine=False) if layer_norm else None, values, seeds
        )
    return Regime(f"{construction.name}, {values.name} values, {hidden} neurons", arms)


def _arm(
    W_in: torch.Tensor, activation: Activation, layer_norm: LayerNorm | None, values: Values, seeds: Sequence[int]
) -> Arm:
    features = Features(W_in.shape[2], DENSITY, values=values)
    bottleneck = Bottleneck(W_in.shape[1], activation, layer_norm, Linear(), tied=False)
    experiments = [Experiment(features, bottleneck, seed=seed) for seed in seeds]
    parameters = Parameters(W_in=W_in, W_out=W_in.transpose(1, 2), b_out=torch.zeros(W_in.shape[0], W_in.shape[2]))
    if layer_norm is not None:
        eps = resolved_eps([e.bottleneck for e in experiments], parameters, sampler(experiments))
        parameters = replace(parameters, ln_eps=eps)
    return Arm(experiments, refit(experiments, parameters).to("cpu", torch.float32))
