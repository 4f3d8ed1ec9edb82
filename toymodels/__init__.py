"""toymodels: features, drawn sparsely, are squeezed through a bottleneck, trained thousands at once, measured against
the truth, and put to the hypotheses.

    import toymodels as tm

    features = tm.Features(n=64, density=0.062, frequency=tm.Frequency(tm.Zipf(1.2), cap=0.5))
    bottleneck = tm.Bottleneck(hidden=16, activation=tm.SoLU(), layer_norm=tm.LayerNorm())
    experiments = [tm.Experiment(features, bottleneck, tm.Training(steps=1000), seed=seed) for seed in range(8)]
    trained = tm.train(experiments)
    measures = tm.measure(experiments, trained.parameters)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from toymodels.activations import ELU, Activation, Elementwise, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck, Parameters, Taps, forward
from toymodels.features import Features, Frequency, Importance, Sampler
from toymodels.firing import Anticorrelated, Correlated, Independent, One
from toymodels.laws import Geometric, Listed, Uniform, Zipf
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.metrics import Measures, Tier, measure
from toymodels.objectives import AbsoluteValue, Identity
from toymodels.training import OutOfMemory, Trained, train
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.schedules import Constant, Cosine, LinearDecay
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues

if TYPE_CHECKING:
    from pathlib import Path

    from sweeps.reading import Run

__version__ = "0.1.0"

__all__ = [
    "ELU",
    "SGD",
    "AbsoluteValue",
    "Activation",
    "Adam",
    "Anticorrelated",
    "Binary",
    "Bottleneck",
    "Constant",
    "Correlated",
    "Cosine",
    "Elementwise",
    "Experiment",
    "Exponential",
    "Features",
    "FoldedNormal",
    "Frequency",
    "GeLU",
    "Geometric",
    "Identity",
    "Importance",
    "Independent",
    "LayerNorm",
    "Linear",
    "LinearDecay",
    "Listed",
    "Matched",
    "Measures",
    "One",
    "OutOfMemory",
    "Parameters",
    "ReLU",
    "RotatedAdam",
    "Sampler",
    "SiLU",
    "SoLU",
    "Taps",
    "Tier",
    "Trained",
    "Training",
    "Uniform",
    "UniformValues",
    "XExp",
    "Zipf",
    "forward",
    "load",
    "measure",
    "train",
]


def load(folder: str | Path) -> Run:
    """The run in ``folder``: its tables as DataFrames, any model back as tensors. See `sweeps.reading.Run`.

    The one place where the science knows of the sweeps, and only when it is called.
    """
    return importlib.import_module("sweeps.reading").load(folder)
