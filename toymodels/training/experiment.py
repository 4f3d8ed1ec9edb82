"""An experiment: everything that determines one trained model.

What it sees (`Features`, or `Data` of one's own), what it is (`Bottleneck`), what it must say (a target), how it learns
(`Training`), and the seed of its data and its start. Experiments of one *structure* train together on the leading
``model`` axis.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters
from toymodels.checks import SEED, Part, expect, expect_frozen, setting, settle
from toymodels.data import Data, Inputs, Samples, samples_of
from toymodels.examples import Examples, Source
from toymodels.features import Features
from toymodels.initialisation import initialise
from toymodels.losses import LOSSES, Loss, Squared
from toymodels.objectives import check_objective, constant_losses
from toymodels.roles import OneOf
from toymodels.targets import TARGETS, Identity, Says, Target
from toymodels.training.recipe import Training


@dataclass(frozen=True)
class Sizes:
    """How long each axis of a model is, 0 of what there is none. What things cost is told from these."""

    feature: int
    embedding: int
    hidden: int
    target: int
    gate: int = 0
    """as many as ``hidden`` where neurons have gates"""
    expert: int = 0

    @property
    def least(self) -> int:
        """The shortest axis that there is."""
        return min(size for size in (self.feature, self.embedding, self.hidden, self.target) if size)

    @property
    def most(self) -> int:
        """The longest axis."""
        return max(self.feature, self.embedding, self.hidden, self.target)

    @property
    def weights(self) -> int:
        """Numbers in W_in, W_out, E, W_gate and W_router, as if none were tied or left out: so many products a sample
        of a forward pass, as it is computed."""
        inputs = self.embedding or self.feature
        reading = (self.hidden + self.gate + self.expert) * inputs
        return reading + self.hidden * self.target + self.embedding * self.feature

    @property
    def said(self) -> int:
        """Features or targets, whichever are more: how wide x and t are."""
        return max(self.feature, self.target)


@dataclass(frozen=True)
class Experiment:
    """One model to train. Raises ``ValueError`` with one sentence where its parts contradict each other."""

    features: Inputs = field(metadata=setting(Part(Features, "Features(n=64, density=0.1)", Data), "how x is drawn"))
    bottleneck: Bottleneck = field(metadata=setting(Part(Bottleneck, "Bottleneck(hidden=16)"), "what is trained"))
    training: Training = field(
        default_factory=Training, metadata=setting(Part(Training, "Training()"), "how it is trained")
    )
    target: Target = field(
        default_factory=Identity,
        metadata=setting(
            OneOf(Target, "Identity()", names=TARGETS),
            "what a model must say of x: itself, |x| (signed = true), or x_i x_j of pairs",
        ),
    )
    seed: int = field(default=0, metadata=setting(SEED, "of data and start: models of equal seed see the same data"))
    loss: Loss = field(
        default_factory=Squared,
        metadata=setting(
            OneOf(Loss, "Squared()", names=LOSSES),
            "what an error costs: l4 is |t - y|^4; cross_entropy needs binary values and a linear output",
        ),
    )

    def __post_init__(self) -> None:
        settle(self)
        expect_frozen(target=self.target, loss=self.loss)
        if self.training.hidden_bias_decay and not self.bottleneck.hidden_bias:
            raise ValueError("hidden_bias_decay: there is no hidden bias to decay: set hidden_bias = true")
        if self.training.weight_growth and self.bottleneck.embedding is not None:
            raise ValueError(
                "weight_growth: columns of W_in stand for features only without an embedding: leave it out"
            )
        if self.training.activation_l1 and self.bottleneck.layer_norm is not None:
            raise ValueError(
                "activation_l1: a LayerNorm undoes any size of mid, which then costs nothing: leave one out"
            )
        if self.training.weights_kept < 1 and (
            self.bottleneck.blocks or self.bottleneck.experts or self.bottleneck.gated
        ):
            raise ValueError(
                "weights_kept: a share of the weights of a dense W_in, and there are others: leave it or blocks, "
                "experts and gated out"
            )
        if self.training.load_balance and not self.bottleneck.experts:
            raise ValueError("load_balance: there is no router whose load to balance: set experts = 2 or more")
        check_objective(self.target, self.loss, self.features, self.bottleneck.output, self.seed)
        self.bottleneck.check(self.features.n, self.target)

    @property
    def n_targets(self) -> int:
        """How many numbers a model must say of x."""
        return self.target.count(self.features.n)

    @property
    def sizes(self) -> Sizes:
        """How long each of its axes is."""
        b = self.bottleneck
        embedding = 0 if b.embedding is None else b.embedding.size
        return Sizes(self.features.n, embedding, b.hidden, self.n_targets, b.hidden * b.gated, b.experts)

    @property
    def cost(self) -> Loss:
        """The ``loss`` as these features have it: of a cross-entropy a softmax, where exactly one of them is active."""
        return self.loss.over(self.features)

    def feature_importance(self) -> np.ndarray:
        """I_i of each feature, float64 ``[feature]``."""
        return self.features.importance.weights(self.features.n, self.seed)

    def importance(self) -> np.ndarray:
        """What an error in each target costs, float64 ``[target]``: I_i, where target i is of feature i."""
        return self.target.importance(self.feature_importance(), self.seed)

    def best_constant_loss(self) -> float:
        """sum_i I_i min_c E loss(t_i, c): the loss of the best constant predictor; see `constant_losses`."""
        importance = self.importance()
        return float(importance @ constant_losses(self.features, self.target, self.cost, importance, self.seed))

    def notes(self) -> tuple[str, ...]:
        """What should be known before this is trained, a sentence each; the same for all of one structure."""
        if not isinstance(self.features, Features):
            return ()
        return tuple(self.target.notes(self.features, self.bottleneck.output))

    def structure(self) -> Hashable:
        """What must be equal for experiments to train together; all else is each model's own."""
        return (
            self.features.structure,
            self.bottleneck.structure,
            self.training.structure,
            self.target,
            self.loss,
        )


def check_one_structure(experiments: Sequence[Experiment]) -> None:
    """Raise ``ValueError`` unless the experiments can train together."""
    if isinstance(experiments, Experiment):
        raise TypeError("expected a sequence of experiments, got one experiment: put it in a list")
    if not isinstance(experiments, Sequence):
        raise TypeError(f"expected a list or tuple of experiments, got {type(experiments).__name__}: make a list of it")
    if len(experiments) == 0:
        raise ValueError("expected at least one experiment, got none")
    for each in experiments:
        expect(Experiment, "Experiment(features, bottleneck)", experiments=each)
    if len({experiment.structure() for experiment in experiments}) > 1:
        raise ValueError(
            "expected experiments of one structure (they may differ in seed, density, frequency, importance, learning "
            "rate, decays, weights kept, init scale, hidden bias start and LayerNorm eps only): group them by "
            "Experiment.structure()"
        )


def importances(experiments: Sequence[Experiment]) -> np.ndarray:
    """What an error in each target costs, float64 ``[model, target]``."""
    return np.stack([e.importance() for e in experiments])


def target_of(experiments: Sequence[Experiment]) -> Says:
    """What these models of one structure must say: t [model, target, batch] of x [model, feature, batch]."""
    first = experiments[0]
    return first.target.of(first.features.n, np.array([e.seed for e in experiments], np.int64))


def start(experiments: Sequence[Experiment], data: Samples, dtype: torch.dtype = torch.float32) -> Parameters:
    """The parameters that these models of one structure begin with; ``data`` is their `sampler`."""
    first = experiments[0]
    n_targets = None if first.target.of_features else first.n_targets
    return initialise([e.bottleneck for e in experiments], data, dtype, n_targets)


def sampler(experiments: Sequence[Experiment], device: str | torch.device = "cpu") -> Samples:
    """The data of these experiments."""
    return samples_of([e.features for e in experiments], [e.seed for e in experiments], device)


def examples_of(experiments: Sequence[Experiment], like: Tensor) -> Source:
    """The evaluation data of these models of one structure, on the device and in the precision of ``like``; a feature
    is active where x is not 0."""
    data, says = sampler(experiments, like.device), target_of(experiments)

    def examples(first: int, samples: int) -> Examples:
        x = data.evaluation(first, samples).to(like.dtype)
        return Examples(x, says(x), x != 0)

    return examples
