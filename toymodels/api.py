"""The public names of toymodels: what ``import toymodels as tm`` offers as ``tm.NAME``.

`toymodels` itself imports this page when a name is first asked for, so that the command line opens at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from toymodels.activations import ELU, Activation, Elementwise, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck, Parameters, Taps, forward
from toymodels.data import Data, Dataset
from toymodels.embedding import Embedding
from toymodels.engines import OutOfMemory, Trained, train
from toymodels.features import Features, Frequency, Importance, Sampler
from toymodels.firing import Anticorrelated, Correlated, Independent, One, Together
from toymodels.laws import Geometric, Listed, Uniform, Zipf
from toymodels.layer_norm import LayerNorm, Matched
from toymodels.losses import CrossEntropy, Loss, Power, Softmax, Squared
from toymodels.metrics import Measures, Tier, measure
from toymodels.targets import AbsoluteValue, And, FeatureTarget, Identity, Target
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.schedules import Constant, Cosine, LinearDecay
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues, Values

if TYPE_CHECKING:
    from pathlib import Path

    from toymodels.sweeps.results.reading import Run

__all__ = [
    "ELU",
    "SGD",
    "AbsoluteValue",
    "Activation",
    "Adam",
    "And",
    "Anticorrelated",
    "Binary",
    "Bottleneck",
    "Constant",
    "Correlated",
    "Cosine",
    "CrossEntropy",
    "Data",
    "Dataset",
    "Elementwise",
    "Embedding",
    "Experiment",
    "Exponential",
    "FeatureTarget",
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
    "Loss",
    "Matched",
    "Measures",
    "One",
    "OutOfMemory",
    "Parameters",
    "Power",
    "ReLU",
    "RotatedAdam",
    "Sampler",
    "SiLU",
    "SoLU",
    "Softmax",
    "Squared",
    "Taps",
    "Target",
    "Tier",
    "Together",
    "Trained",
    "Training",
    "Uniform",
    "UniformValues",
    "Values",
    "XExp",
    "Zipf",
    "forward",
    "load",
    "measure",
    "train",
]


def load(folder: str | Path, *, allow_code: bool = False) -> Run:
    """The run in ``folder``: its tables as DataFrames, any model back as tensors; with ``allow_code`` also those that
    are made of code of your own, which is then imported.

    See `toymodels.sweeps.results.reading.Run`.

    The one place where the science knows of the sweeps, and only when it is called.
    """
    return importlib.import_module("toymodels.sweeps.results.reading").load(folder, allow_code=allow_code)
