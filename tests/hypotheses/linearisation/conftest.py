"""Layers to linearise: decoders with numbers as trained ones have, none zero and none equal, in float64."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from toymodels import (
    Activation,
    Binary,
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    LayerNorm,
    Linear,
    Parameters,
    Training,
    UniformValues,
)
from toymodels.training.experiment import sampler, start

N, M, D, K = 7, 6, 4, 2


def experiments_of(
    activation: Activation, norm: LayerNorm | None = None, *, density: float = 0.3, binary: bool = True, n: int = N
) -> list[Experiment]:
    layer = Bottleneck(M, activation, norm, Linear(), tied=False, hidden_bias=True, embedding=Embedding(D))
    features = Features(n, density, values=Binary() if binary else UniformValues())
    return [Experiment(features, layer, Training(steps=1), seed=seed) for seed in range(K)]


def parameters_of(experiments: list[Experiment], size: float = 1.0) -> Parameters:
    began = start(experiments, sampler(experiments), torch.float64)
    generator = torch.Generator().manual_seed(5)
    moved = {
        name: size * (each + 0.4 * torch.randn(each.shape, generator=generator, dtype=torch.float64))
        for name, each in began.trained(experiments[0].bottleneck).items()
    }
    return dataclasses.replace(began, **moved)


def data_of(experiments: list[Experiment], samples: int, first: int = 0) -> Tensor:
    return sampler(experiments).evaluation(first, samples).double()


def with_neurons_in_order(parameters: Parameters, order: np.ndarray) -> Parameters:
    """The same models with their neurons in another order."""
    rows = {
        name: each[:, torch.from_numpy(order)]
        for name, each in parameters.present().items()
        if name in {"W_in", "b_in", "ln_gain", "ln_bias"}
    }
    return dataclasses.replace(parameters, **rows, W_out=parameters.decoder[:, :, torch.from_numpy(order)])


def with_gauge(parameters: Parameters) -> Parameters:
    """1 v' added to W_in: of a linear layer with LayerNorm the same model."""
    v = torch.linspace(-2, 3, parameters.W_in.shape[2]).double()
    return dataclasses.replace(parameters, W_in=parameters.W_in + v)
