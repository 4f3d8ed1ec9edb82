"""A loaded model: one trained model of a run, read back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from toymodels.bottleneck import Parameters, Taps, forward
from toymodels.training.experiment import Experiment


@dataclass(frozen=True)
class LoadedModel:
    """One trained model: what it was asked to do, its tensors (leading ``model`` axis of size 1) and its loss curve."""

    experiment: Experiment
    parameters: Parameters
    curve_step: Tensor
    curve: Tensor
    diverged: bool
    snapshot_step: Tensor
    """[snapshot], counted from 1; empty where none were kept (``train.snapshots``)"""
    snapshots: Parameters | None
    """the weights after those steps, the leading axis a snapshot's in the place of ``model``: what `toymodels.forward`
    takes as so many models; None where none were kept"""

    def __repr__(self) -> str:
        hidden, features = self.parameters.W_in.shape[1:]
        layer = type(self.experiment.bottleneck.activation).__name__
        how = ", diverged" if self.diverged else ""
        return f"LoadedModel: {layer}, {features} inputs, {hidden} neurons, seed {self.experiment.seed}{how}"

    def __call__(self, x: Tensor) -> Taps:
        """Run the model on x ``[feature, batch]`` or ``[model = 1, feature, batch]``."""
        return forward(self.experiment.bottleneck, self.parameters, x if x.dim() == 3 else x[None])
