"""Pairs of models that are the same model, written down in two ways: whatever is said of one must be said of the other.

The data are rows of an array, so that features can change their order and keep their examples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from toymodels import Bottleneck, Dataset, Embedding, Experiment, LayerNorm, Linear, Parameters, ReLU, SoLU
from toymodels.bottleneck import directions
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN
from toymodels.hypotheses.evidence import SplitSamples, halves
from toymodels.hypotheses.tiers import Tiers
from toymodels.metrics.moments import collect, together

N, MODELS, SAMPLES = 9, 2, 2048


@dataclass(frozen=True)
class Alike:
    """Two arms of the same models; feature k of ``other`` is feature ``features[k]`` of ``arm``."""

    arm: Models
    other: Models
    features: Tensor


def of_shape(bottleneck: Bottleneck, x: Tensor | None = None) -> Models:
    """Models with every number away from 0, in float64, on the rows of ``x`` [example, feature]."""
    noise = torch.Generator().manual_seed(3)
    if x is None:
        x = torch.rand(1500, N, generator=noise) * (torch.rand(1500, N, generator=noise) < 0.25)
    inputs = N if bottleneck.embedding is None else bottleneck.embedding.size
    sizes = {"feature": N, "target": N, "hidden": bottleneck.hidden, "embedding": inputs}
    shapes = {name: [sizes[axis] for axis in axes] for name, axes in {**bottleneck.axes, **bottleneck.fixed}.items()}
    drawn = {name: torch.randn(MODELS, *shape, generator=noise).double() for name, shape in shapes.items()}
    if bottleneck.layer_norm is not None:
        drawn["ln_eps"] = torch.full((MODELS,), 1e-3, dtype=torch.float64)
    es = [Experiment(Dataset(x), bottleneck, seed=seed) for seed in range(MODELS)]
    return Models(es, Parameters(**drawn))


def shifted(bottleneck: Bottleneck) -> Alike:
    """LayerNorm's gauge: 1 v' is added to W_in, and every neuron moves by v'x more."""
    arm = of_shape(bottleneck)
    W_in = arm.parameters.W_in
    v = torch.linspace(-1.5, 2, W_in.shape[2], dtype=W_in.dtype)
    other = replace(arm, parameters=replace(arm.parameters, W_in=W_in + v))
    assert (directions(other.parameters) - directions(arm.parameters)).abs().amax() > 1
    return Alike(arm, other, torch.arange(N))


def other_neurons(bottleneck: Bottleneck) -> Alike:
    """The neurons in another order."""
    arm = of_shape(bottleneck)
    order, p = torch.randperm(bottleneck.hidden, generator=torch.Generator().manual_seed(4)), arm.parameters
    moved = {"W_in": p.W_in[:, order], "W_out": p.decoder[:, :, order]}
    vectors = {name: getattr(p, name) for name in ("b_in", "ln_gain", "ln_bias")}
    moved |= {name: vector[:, order] for name, vector in vectors.items() if vector is not None}
    return Alike(arm, replace(arm, parameters=replace(p, **moved)), torch.arange(N))


def other_features(bottleneck: Bottleneck) -> Alike:
    """The features in another order, in the data as in the weights."""
    arm = of_shape(bottleneck)
    order, p, e = torch.randperm(N, generator=torch.Generator().manual_seed(4)), arm.parameters, arm.experiments[0]
    assert isinstance(e.features, Dataset)
    data = Dataset(e.features.population().T[:, order])
    inputs = {"W_in": p.W_in[:, :, order]} if p.E is None else {"E": p.E[:, :, order]}
    moved = replace(p, W_out=p.decoder[:, order], b_out=None if p.b_out is None else p.b_out[:, order], **inputs)
    return Alike(arm, Models([replace(each, features=data) for each in arm.experiments], moved), order)


def other_units(bottleneck: Bottleneck) -> Alike:
    """Four times the pre-activations, read out by a quarter where no LayerNorm has done so already."""
    arm = of_shape(bottleneck)
    p = arm.parameters
    moved = {"W_in": 4 * p.W_in, "b_in": None if p.b_in is None else 4 * p.b_in}
    moved |= {"W_out": p.decoder / 4} if p.ln_eps is None else {"ln_eps": 16 * p.ln_eps}
    return Alike(arm, replace(arm, parameters=replace(p, **moved)), torch.arange(N))


LINEAR = Bottleneck(6, Linear(), LayerNorm(), Linear(), tied=False, hidden_bias=True)
SOLU = Bottleneck(7, SoLU(), LayerNorm(), ReLU(), tied=False, hidden_bias=True)
RELU = Bottleneck(6, ReLU(), LayerNorm(affine=False), Linear(), tied=False, hidden_bias=True)
PAIRS: dict[str, Callable[[], Alike]] = {
    "1 v' in W_in": lambda: shifted(LINEAR),
    "1 v' in W_in of a decoder": lambda: shifted(replace(LINEAR, embedding=Embedding(4))),
    "neurons in another order": lambda: other_neurons(SOLU),
    "features in another order": lambda: other_features(SOLU),
    "features of a decoder in another order": lambda: other_features(replace(SOLU, embedding=Embedding(4))),
    "other units": lambda: other_units(RELU),
    "other units without LayerNorm": lambda: other_units(replace(RELU, layer_norm=None)),
}


@pytest.fixture(scope="session", params=PAIRS.values(), ids=list(PAIRS))
def alike(request: pytest.FixtureRequest) -> Alike:
    """The same models in two ways, one pair after the other."""
    return request.param()


@pytest.fixture(scope="session")
def split() -> Callable[[Models], SplitSamples]:
    """The evaluation samples of an arm in two halves, as a verdict cuts them."""

    def of(arm: Models, samples: int = SAMPLES, name: str = MAIN) -> SplitSamples:
        middle, last = halves(samples)
        folds = collect(arm, last).folds
        return SplitSamples(name, middle, last, together(folds[:2]), together(folds[2:]))

    return of


def tiers_of(neuron: Tensor, hidden: Tensor) -> Tiers:
    """These tiers, bool [model, feature]."""
    return Tiers(neuron, hidden)


@pytest.fixture(scope="session")
def make_tiers() -> Callable[[Tensor, Tensor], Tiers]:
    return tiers_of
