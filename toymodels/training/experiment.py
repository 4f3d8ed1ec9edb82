"""An experiment: everything that determines one trained model.

What it sees (`Features`), what it is (`Bottleneck`), what it must say (a target), how it learns (`Training`), and the
seed of its data and its start. Experiments of one *structure* train together on the leading ``model`` axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np

from toymodels.bottleneck import Bottleneck
from toymodels.checks import expect
from toymodels.features import Features, Sampler
from toymodels.layer_norm import LayerNorm
from toymodels.objectives import Identity, Loss, Squared, Target, check_objective, constant_losses
from toymodels.random import MAX_SEED
from toymodels.training.recipe import Training


@dataclass(frozen=True)
class Experiment:
    """One model to train. Raises ``ValueError`` with one sentence where its parts contradict each other."""

    features: Features
    bottleneck: Bottleneck
    training: Training = field(default_factory=Training)
    target: Target = field(default_factory=Identity)
    seed: int = 0
    loss: Loss = field(default_factory=Squared)

    def __post_init__(self) -> None:
        expect(Features, "Features(n=64, density=0.1)", features=self.features)
        expect(Bottleneck, "Bottleneck(hidden=16)", bottleneck=self.bottleneck)
        expect(Training, "Training()", training=self.training)
        expect(Target, "Identity()", target=self.target)
        expect(Loss, "Squared()", loss=self.loss)
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed: expected 0 <= seed < 2^63, got {self.seed}")
        if self.training.hidden_bias_decay and not self.bottleneck.hidden_bias:
            raise ValueError("hidden_bias_decay: there is no hidden bias to decay: set hidden_bias = true")
        check_objective(self.target, self.features, self.bottleneck.output)

    def importance(self) -> np.ndarray:
        """I_i, float64 ``[feature]``."""
        return self.features.importance.weights(self.features.n, self.seed)

    def best_constant_loss(self) -> float:
        """sum_i I_i min_c E loss(t_i, c): the loss of the best constant predictor; see `constant_losses`."""
        return float(self.importance() @ constant_losses(self.features, self.target, self.loss))

    def structure(self) -> Hashable:
        """What must be equal for experiments to train together; all else is each model's own."""
        f, b, t = self.features, self.bottleneck, self.training
        norm = None if b.layer_norm is None else LayerNorm(affine=b.layer_norm.affine)
        return (
            (f.n, f.values, f.signed, f.firing),
            dataclasses.replace(b, layer_norm=norm, init_scale=1.0, hidden_bias_start=0.0),
            dataclasses.replace(t, learning_rate=1.0, weight_decay=0.0, hidden_bias_decay=0.0),
            self.target,
            self.loss,
        )


def check_one_structure(experiments: Sequence[Experiment]) -> None:
    """Raise ``ValueError`` unless the experiments can train together."""
    if isinstance(experiments, Experiment):
        raise TypeError("expected a sequence of experiments, got one experiment: put it in a list")
    if not experiments:
        raise ValueError("expected at least one experiment, got none")
    if len({experiment.structure() for experiment in experiments}) > 1:
        raise ValueError(
            "expected experiments of one structure (they may differ in seed, density, frequency, importance, learning "
            "rate, decays, init scale, hidden bias start and LayerNorm eps only): group them by Experiment.structure()"
        )


def sampler(experiments: Sequence[Experiment], device: str = "cpu") -> Sampler:
    """The data of these experiments."""
    return Sampler([e.features for e in experiments], [e.seed for e in experiments], device)
