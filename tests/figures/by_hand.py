"""Runs by hand: models whose weights are written down, so that what is drawn of them depends on no training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

import toymodels as tm
from toymodels.bottleneck import Parameters
from toymodels.metrics.geometry import interference, norms
from toymodels.sweeps.results.reading import LoadedModel, Run


class RunByHand(Run):
    """A run of models of linear or ReLU neurons with these W ``[hidden, feature]``, each a row of ``settings``."""

    def __init__(self, weights: Sequence[Tensor], settings: Sequence[dict[str, Any]], losses: Sequence[float]) -> None:
        self.path = Path("by_hand")
        self.weights = weights
        rows = [{"model": k, "seed": 0, "status": "ok"} | each for k, each in enumerate(settings)]
        models = pd.DataFrame(rows).assign(loss=losses, loss_fraction=losses)
        parts = [W.double() for W in weights]
        features = [
            pd.DataFrame({"model": k, "norm": norms(W[None])[0], "interference": interference(W[None])[0]})
            for k, W in enumerate(parts)
        ]
        neurons = [
            pd.DataFrame({"model": k, "monosemanticity": (W.abs().amax(1) / W.abs().sum(1)).nan_to_num()})
            for k, W in enumerate(parts)
        ]
        self.__dict__ |= {
            "models": models,
            "setting_columns": ("seed", *settings[0]),
            "features": pd.concat([each.rename_axis("feature").reset_index() for each in features]),
            "neurons": pd.concat([each.rename_axis("neuron").reset_index() for each in neurons]),
        }

    def model(self, model: int) -> LoadedModel:
        """The model of this number, of importances .8^i."""
        W = self.weights[model]
        hidden, n = W.shape
        row = self.models.iloc[model]
        features = tm.Features(n, density=float(row["features.density"]), importance=tm.Importance(tm.Geometric(0.8)))
        activation = tm.ReLU() if row["model.activation"] == "relu" else tm.Linear()
        empty = torch.zeros(0)
        return LoadedModel(
            experiment=tm.Experiment(features, tm.Bottleneck(hidden, activation), tm.Training(steps=1, batch=1)),
            parameters=self.batch([model])[1],
            curve_step=empty,
            curve=empty,
            diverged=False,
            snapshot_step=empty,
            snapshots=None,
        )

    def batch(self, models: Sequence[int]) -> tuple[list[tm.Experiment], Parameters]:
        """Their weights; the experiments are not needed here."""
        W = torch.stack([self.weights[model] for model in models]).float()
        return [], Parameters(W_in=W, W_out=W.transpose(1, 2))


def settings(density: float, hidden: int, n: int, activation: str = "linear", **others: Any) -> dict[str, Any]:
    """The settings of a model that figures ask for."""
    return {
        "features.density": density,
        "features.n": n,
        "model.hidden": hidden,
        "model.activation": activation,
        "task.target": "identity",
    } | others


def polygons() -> RunByHand:
    """Two orthogonal features and three lost ones; two antipodal pairs and a lost one; a pentagon."""
    W = torch.zeros(3, 2, 5)
    W[0, 0, 0] = W[0, 1, 1] = 1
    W[1, 0, :2], W[1, 1, 2:4] = torch.tensor([1.0, -1.0]), torch.tensor([0.9, -0.9])
    angles = 2 * torch.pi * torch.arange(5) / 5
    W[2] = 1.1 * torch.stack([angles.cos(), angles.sin()])
    return RunByHand(list(W), [settings(p, 2, 5) for p in (1.0, 0.3, 0.05)], [0.5, 0.3, 0.1])


def neurons() -> RunByHand:
    """Three ReLU neurons: one of one feature, one of two, one of three and a negative one."""
    W = torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.8, 0.0, 0.0], [0.0, 0.0, 0.5, 0.7, 0.6]])
    signed = W.clone()
    signed[2, 0] = -0.9
    return RunByHand([W, signed], [settings(p, 3, 5, "relu") for p in (1.0, 0.1)], [0.5, 0.2])


def phases() -> RunByHand:
    """Over 5 densities and 5 importances the best candidate itself, at nine tenths of its loss."""
    from toymodels.metrics.phases import candidate_losses

    W = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[1.0, -1.0]]])
    weights, of, losses = [], [], []
    for p in (0.01, 0.03, 0.1, 0.3, 1.0):
        for r in (0.1, 0.3, 1.0, 3.0, 10.0):
            least, which = torch.stack(list(candidate_losses(torch.tensor(p), torch.tensor(r)).values())).min(0)
            weights.append(W[which])
            of.append(settings(p, 1, 2) | {"features.importance.ratio": r})
            losses.append(0.9 * float(least))
    return RunByHand(weights, of, losses)
