"""Choices: what the gpu engine's kernels know, and which models one multiprocessor holds; all else is refused by name.

The kernels know a choice by its name, which only stands for the class listed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toymodels.activations import ELU, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck
from toymodels.embedding import Embedding
from toymodels.engines.gpu.form import MOST, form_of
from toymodels.engines.known import Known
from toymodels.features import Features, Frequency, Importance
from toymodels.firing import Anticorrelated, Correlated, Independent, One, Together, Tree
from toymodels.layer_norm import LayerNorm
from toymodels.losses import CrossEntropy, Softmax, Squared
from toymodels.targets import AbsoluteValue, And, Identity
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues

KNOWN = Known(
    engine="gpu",
    parts={
        "activation": (Linear, ReLU, GeLU, SoLU, SiLU, ELU, XExp),
        "output": (Linear, ReLU),
        "target": (Identity, AbsoluteValue, And),
        "loss": (Squared, CrossEntropy, Softmax),
        "value law": (UniformValues, Binary, FoldedNormal, Exponential),
        "firing law": (Independent, One, Correlated, Anticorrelated, Together, Tree),
        "optimizer": (Adam, SGD, RotatedAdam),
    },
    settings={
        Experiment: "features bottleneck training target seed loss",
        Features: "n density frequency importance values signed firing",
        Frequency: "law cap",
        Importance: "law shuffle shuffle_seed",
        Bottleneck: "hidden activation layer_norm output output_bias tied hidden_bias init_scale hidden_bias_start "
        "embedding",
        LayerNorm: "eps affine",
        Embedding: "size trained",
        And: "pairs",
        Training: "steps batch optimizer learning_rate schedule weight_decay curve_points snapshots hidden_bias_decay "
        "weight_growth activation_l1 weights_kept",
        Adam: "beta_1 beta_2 eps",
        SGD: "momentum",
        RotatedAdam: "adam",
    },
    lacking={Bottleneck: "blocks top_k experts gated", Training: "load_balance"},
)


def unsupported(experiments: Sequence[Experiment], engine: str = KNOWN.engine) -> str | None:
    """Why a gpu engine of this name cannot train these experiments of one structure, in a sentence; None if it can."""
    if reason := replace(KNOWN, engine=engine).unsupported(experiments):
        return reason
    form = form_of(experiments[0])
    if form.held <= MOST:
        return None
    sizes = f"{form.n} features, {form.m} neurons"
    return (
        f"the {engine} engine holds a model in one multiprocessor, and one of {sizes} with a tile of {form.tile} "
        f"samples is {form.held:,} numbers, of {MOST:,} that fit: use engine autograd"
    )
