"""Codes: which choices the kernels know, by which number, and what the fused engine therefore refuses.

What is not listed here is refused by name, never left out in silence.
"""

from __future__ import annotations

from toymodels.activations import ELU, Activation, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck
from toymodels.embedding import Embedding
from toymodels.engines.known import Known
from toymodels.features import Features, Frequency, Importance
from toymodels.firing import Anticorrelated, Correlated, Firing, Independent, One, Together, Tree
from toymodels.kernels import draw, layers, objective, update
from toymodels.layer_norm import LayerNorm
from toymodels.losses import CrossEntropy, Loss, Softmax, Squared
from toymodels.targets import AbsoluteValue, And, Identity, Target
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import SGD, Adam, Optimizer, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues, Values

ACTIVATION_CODES: dict[type[Activation], int] = {
    Linear: layers.LINEAR,
    ReLU: layers.RELU,
    GeLU: layers.GELU,
    SoLU: layers.SOLU,
    SiLU: layers.SILU,
    ELU: layers.ELU,
    XExp: layers.XEXP,
}
OUTPUT_CODES: dict[type[Activation], int] = {Linear: objective.LINEAR_OUTPUT, ReLU: objective.RELU_OUTPUT}
TARGET_CODES: dict[type[Target], int] = {
    Identity: objective.IDENTITY,
    AbsoluteValue: objective.ABSOLUTE_VALUE,
    And: objective.AND,
}
LOSS_CODES: dict[type[Loss], int] = {
    Squared: objective.SQUARED,
    CrossEntropy: objective.SIGMOID,
    Softmax: objective.SOFTMAX,
}
VALUE_CODES: dict[type[Values], int] = {
    UniformValues: draw.UNIFORM,
    Binary: draw.BINARY,
    FoldedNormal: draw.FOLDED_NORMAL,
    Exponential: draw.EXPONENTIAL,
}
KNOWN_FIRINGS: tuple[type[Firing], ...] = (Independent, One, Correlated, Anticorrelated, Together, Tree)
"""They have no codes: every law is thresholds on words, which the kernels are given."""
OPTIMIZER_CODES: dict[type[Optimizer], int] = {Adam: update.ADAM, SGD: update.SGD, RotatedAdam: update.ROTATED_ADAM}

KNOWN_SETTINGS: dict[type, str] = {
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
}
"""What this engine knows of each part of an experiment. What is not here is refused, never left out; but for a setting
at its default, with which a model is what it was before there was that setting."""
LACKING: dict[type, str] = {Bottleneck: "blocks top_k experts gated", Training: "load_balance"}
"""Of the settings that are not there, those that are the same for all models of one structure."""


KNOWN = Known(
    engine="fused",
    parts={
        "activation": ACTIVATION_CODES,
        "output": OUTPUT_CODES,
        "target": TARGET_CODES,
        "loss": LOSS_CODES,
        "value law": VALUE_CODES,
        "firing law": KNOWN_FIRINGS,
        "optimizer": OPTIMIZER_CODES,
    },
    settings=KNOWN_SETTINGS,
    lacking=LACKING,
)
