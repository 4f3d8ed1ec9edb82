"""Codes: which choices the kernels know, by which number, and what the fused engine therefore refuses.

What is not listed here is refused by name, never left out in silence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from toymodels.activations import ELU, Activation, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck
from toymodels.embedding import Embedding
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


def unsupported(experiments: Sequence[Experiment]) -> str | None:
    """Why this engine cannot train these experiments of one structure, in a sentence, or None if it can."""
    experiment = experiments[0]
    f, b, t = experiment.features, experiment.bottleneck, experiment.training
    if not isinstance(f, Features):
        return f"the fused engine does not know the class {type(f).__name__}: use engine autograd"
    if reason := _unknown(experiments):
        return f"the fused engine does not know {reason}: use engine autograd"
    parts: tuple[tuple[str, object, Iterable[type]], ...] = (
        ("activation", b.activation, ACTIVATION_CODES),
        ("output", b.output, OUTPUT_CODES),
        ("target", experiment.target, TARGET_CODES),
        ("loss", experiment.cost, LOSS_CODES),
        ("value law", f.values, VALUE_CODES),
        ("firing law", f.firing, KNOWN_FIRINGS),
        ("optimizer", t.optimizer, OPTIMIZER_CODES),
    )
    for what, part, known in parts:
        if type(part) not in known:
            names = ", ".join(each.name for each in known)
            name = getattr(part, "name", "")
            named = f"'{name}' of class {type(part).__name__}" if name in names.split(", ") else f"'{name}'"
            return f"the fused engine has no kernel for {what} {named} (it has {names}): use engine autograd"
    return None


def knows_every_setting() -> bool:
    """Whether one model says of all of its structure what `KNOWN_SETTINGS` lacks."""
    fields = ((kind, field.name) for kind in KNOWN_SETTINGS for field in dataclasses.fields(kind))
    return all(name in f"{KNOWN_SETTINGS[kind]} {LACKING.get(kind, '')}".split() for kind, name in fields)


def _parts(experiment: Experiment) -> tuple[Any, ...]:
    """What an experiment is made of and has settings; None for what it lacks, and for an optimizer without a code."""
    f, b, t = experiment.features, experiment.bottleneck, experiment.training
    assert isinstance(f, Features)
    optimizer = t.optimizer if type(t.optimizer) in OPTIMIZER_CODES else None
    adam = optimizer.adam if isinstance(optimizer, RotatedAdam) else None
    pairs = experiment.target if type(experiment.target) is And else None
    return experiment, f, f.frequency, f.importance, b, b.layer_norm, b.embedding, pairs, t, optimizer, adam


def _unknown(experiments: Sequence[Experiment]) -> str | None:
    """A class or setting that was added after this engine, which would be left out in silence."""
    for place, part in enumerate(_parts(experiments[0])):
        if part is None:
            continue
        kind = type(part)
        if kind not in KNOWN_SETTINGS:
            return f"the class {kind.__name__}"
        for field in dataclasses.fields(kind):
            known = field.name in KNOWN_SETTINGS[kind].split()
            if not known and any(_is_set(_parts(each)[place], field) for each in experiments):
                return f"the setting '{field.name}' of {kind.__name__}"
    return None


def _is_set(part: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field has another value than its default."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return getattr(part, field.name) != default
