"""What the kernels see of experiments: codes for choices, one flat parameter vector a model, arrays by step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toymodels.activations import ELU, Activation, GeLU, Linear, ReLU, SiLU, SoLU, XExp
from toymodels.bottleneck import Bottleneck, Parameters, initialise
from toymodels.data import Samples
from toymodels.engines.engine import CEILING
from toymodels.features import Features, Frequency, Importance, Sampler
from toymodels.firing import Anticorrelated, Correlated, Firing, Independent, One, Together
from toymodels.kernels import draw, layers, products, update
from toymodels.kernels.bottleneck import Shape, Work, aligned
from toymodels.kernels.steps import State
from toymodels.kernels.update import Rule
from toymodels.layer_norm import LayerNorm
from toymodels.objectives import AbsoluteValue, Identity, Loss, Squared, Target
from toymodels.rotations import haar
from toymodels.training.experiment import Experiment, importances, sampler
from toymodels.training.optimizers import SGD, Adam, Optimizer, RotatedAdam
from toymodels.training.recipe import Training
from toymodels.training.trained import Trained
from toymodels.values import Binary, Exponential, FoldedNormal, UniformValues, Values

ACTIVATIONS: dict[type[Activation], int] = {
    Linear: layers.LINEAR,
    ReLU: layers.RELU,
    GeLU: layers.GELU,
    SoLU: layers.SOLU,
    SiLU: layers.SILU,
    ELU: layers.ELU,
    XExp: layers.XEXP,
}
OUTPUTS: dict[type[Activation], int] = {Linear: 0, ReLU: 1}
TARGETS: dict[type[Target], int] = {Identity: 0, AbsoluteValue: 1}
LOSSES: tuple[type[Loss], ...] = (Squared,)
VALUES: dict[type[Values], int] = {
    UniformValues: draw.UNIFORM,
    Binary: draw.BINARY,
    FoldedNormal: draw.FOLDED_NORMAL,
    Exponential: draw.EXPONENTIAL,
}
FIRINGS: tuple[type[Firing], ...] = (Independent, One, Correlated, Anticorrelated, Together)
OPTIMIZERS: dict[type[Optimizer], int] = {Adam: update.ADAM, SGD: update.SGD, RotatedAdam: update.ROTATED_ADAM}

SETTINGS: dict[type, str] = {
    Experiment: "features bottleneck training target seed loss",
    Features: "n density frequency importance values signed firing",
    Frequency: "law cap",
    Importance: "law shuffle shuffle_seed",
    Bottleneck: "hidden activation layer_norm output output_bias tied hidden_bias init_scale hidden_bias_start",
    LayerNorm: "eps affine",
    Training: "steps batch optimizer learning_rate schedule weight_decay curve_points snapshots hidden_bias_decay",
    Adam: "beta_1 beta_2 eps",
    SGD: "momentum",
    RotatedAdam: "adam",
}
"""What this engine knows of each part of an experiment. What is not here is refused, never left out."""
NEVER = np.iinfo(np.int64).max
"""A step that does not come."""


def unsupported(experiment: Experiment) -> str | None:
    """Why this engine cannot train this experiment, in a sentence, or None if it can."""
    f, b, t = experiment.features, experiment.bottleneck, experiment.training
    if not isinstance(f, Features):
        return f"the fused engine does not know the class {type(f).__name__}: use engine autograd"
    for part in (experiment, f, f.frequency, f.importance, b, b.layer_norm, t, t.optimizer):
        if reason := _unknown(part):
            return f"the fused engine does not know {reason}: use engine autograd"
    parts: tuple[tuple[str, object, Iterable[type]], ...] = (
        ("activation", b.activation, ACTIVATIONS),
        ("output", b.output, OUTPUTS),
        ("target", experiment.target, TARGETS),
        ("loss", experiment.loss, LOSSES),
        ("value law", f.values, VALUES),
        ("firing law", f.firing, FIRINGS),
        ("optimizer", t.optimizer, OPTIMIZERS),
    )
    for what, part, known in parts:
        if type(part) not in known:
            names = ", ".join(each.name for each in known)
            name = getattr(part, "name", "")
            named = f"'{name}' of class {type(part).__name__}" if name in names.split(", ") else f"'{name}'"
            return f"the fused engine has no kernel for {what} {named} (it has {names}): use engine autograd"
    return None


def _unknown(part: Any) -> str | None:
    """A class or setting that was added after this engine, which would be left out in silence."""
    known = SETTINGS.get(type(part))
    if known is None:
        return None if part is None or isinstance(part, Optimizer) else f"the class {type(part).__name__}"
    added = [field.name for field in dataclasses.fields(type(part)) if field.name not in known.split()]
    if added:
        return f"the setting '{added[0]}' of {type(part).__name__}"
    return _unknown(part.adam) or _not_adam(part.adam) if isinstance(part, RotatedAdam) else None


def _not_adam(optimizer: Optimizer) -> str | None:
    return None if type(optimizer) is Adam else f"the class {type(optimizer).__name__}"


def bytes_needed(experiments: Sequence[Experiment]) -> int:
    """The memory that training these models of one structure takes, apart from a few rows a thread: never a batch.

    Theta, two moments, one step back and the snapshots twice; what each feature is drawn from; 12 bytes a step.
    """
    shape, recipe = shape_of(experiments[0]), experiments[0].training
    a_model = shape.size * (4 + 2 * recipe.snapshots) + 8 * shape.n + recipe.curve_points
    return 4 * len(experiments) * a_model + 12 * recipe.steps


@dataclass(frozen=True)
class Batch:
    """Models of one structure as the kernels see them."""

    experiments: tuple[Experiment, ...]
    shape: Shape
    source: draw.Source
    rule: Rule
    state: State
    start: Parameters

    @staticmethod
    def of(experiments: Sequence[Experiment]) -> Batch:
        """Everything that the kernels need, with the models at their start."""
        data, shape = sampler(experiments), shape_of(experiments[0])
        start = initialise([e.bottleneck for e in experiments], data)
        return Batch(
            experiments=tuple(experiments),
            shape=shape,
            source=source_of(data),
            rule=_rule(experiments, data),
            state=_state(experiments, shape, start),
            start=start,
        )

    def __len__(self) -> int:
        return len(self.experiments)

    def arguments(self, work: Work) -> tuple:
        """What every kernel of `steps` takes first."""
        return self.shape, self.source, self.rule, self.state, work

    def step_flop(self) -> float:
        """Of one model: five products."""
        return 10.0 * self.shape.n * self.shape.m * self.shape.batch

    def trained(self) -> Trained:
        """The models as they are now."""
        recipe, state = self.experiments[0].training, self.state
        names = self.start.trained()
        snapshots = {name: tensor for name, tensor in unpack(self.shape, state.snapshots).items() if name in names}
        return Trained(
            experiments=self.experiments,
            parameters=Parameters(**unpack(self.shape, state.theta), ln_eps=self.start.ln_eps),
            curve_step=recipe.curve_steps(),
            curve=torch.from_numpy(state.curve),
            diverged_step=torch.from_numpy(state.diverged_step),
            snapshot_step=recipe.snapshot_steps(),
            snapshots=snapshots if len(recipe.snapshot_steps()) else {},
            sub_batches=(len(self),),
        )


def shape_of(experiment: Experiment) -> Shape:
    """The sizes, the layout of theta and the codes of an experiment's structure."""
    b, n, m = experiment.bottleneck, experiment.features.n, experiment.bottleneck.hidden
    pitch, affine = products.pitch(m), b.layer_norm is not None and b.layer_norm.affine
    matrix, size = products.padded(n) * pitch, 0
    begins: dict[str, int] = {}
    for name, length, there in (
        ("W_in", matrix, True),
        ("W_out", matrix, not b.tied),
        ("b_in", pitch, b.hidden_bias),
        ("b_out", n, b.output_bias),
        ("gain", pitch, affine),
        ("bias", pitch, affine),
    ):
        begins[name] = size if there else -1
        size += length if there else 0
    if b.tied:
        begins["W_out"] = begins["W_in"]
    return Shape(
        n=n,
        m=m,
        pitch=pitch,
        batch=experiment.training.batch,
        **begins,
        size=-(-size // 16) * 16,
        activation=ACTIVATIONS[type(b.activation)],
        layer_norm=int(b.layer_norm is not None),
        relu_output=OUTPUTS[type(b.output)],
        absolute_target=TARGETS[type(experiment.target)],
    )


def _views(shape: Shape, theta: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters inside ``theta [..., parameter]``, by name and in the order of axes of `Parameters`."""

    def vector(begin: int, size: int) -> np.ndarray:
        return theta[..., begin : begin + size]

    def matrix(begin: int) -> np.ndarray:
        rows = products.padded(shape.n)
        whole = vector(begin, rows * shape.pitch).reshape(*theta.shape[:-1], rows, shape.pitch)
        return whole[..., : shape.n, : shape.m]

    views = {"W_in": np.swapaxes(matrix(shape.W_in), -1, -2)}
    if shape.W_out != shape.W_in:
        views["W_out"] = matrix(shape.W_out)
    for name, begin, size in (
        ("b_in", shape.b_in, shape.m),
        ("b_out", shape.b_out, shape.n),
        ("ln_gain", shape.gain, shape.m),
        ("ln_bias", shape.bias, shape.m),
    ):
        if begin >= 0:
            views[name] = vector(begin, size)
    return views


def pack(shape: Shape, parameters: Parameters) -> np.ndarray:
    """Parameters as ``theta [model, parameter]``."""
    theta = aligned(len(parameters.W_in) * shape.size).reshape(-1, shape.size)
    tensors = parameters.trained()
    for name, view in _views(shape, theta).items():
        view[...] = tensors[name].detach().numpy()
    return theta


def unpack(shape: Shape, theta: np.ndarray) -> dict[str, Tensor]:
    """The parameters in ``theta [..., parameter]``, by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(view)) for name, view in _views(shape, theta).items()}


def source_of(data: Samples) -> draw.Source:
    """What these models draw from, with the values' own law."""
    assert isinstance(data, Sampler)
    return data.source._replace(values=VALUES[type(data.values)])


def _float32(values: ArrayLike) -> np.ndarray:
    with np.errstate(over="ignore"):  # a rate of 1e39 is infinite, and diverges
        return np.asarray(values, dtype=np.float32)


def _rule(experiments: Sequence[Experiment], data: Samples) -> Rule:
    recipe, m = experiments[0].training, experiments[0].bottleneck.hidden
    optimizer, t = recipe.optimizer, np.arange(1, recipe.steps + 1)
    adam = optimizer.adam if isinstance(optimizer, RotatedAdam) else optimizer
    adam = adam if isinstance(adam, Adam) else Adam()
    rotation = np.zeros((0, m, m), np.float32)
    if isinstance(optimizer, RotatedAdam):
        rotation = np.ascontiguousarray(haar(data.seeds, m, step=0).float().numpy())
    return Rule(
        kind=OPTIMIZERS[type(optimizer)],
        steps=recipe.steps,
        beta_2=np.float32(adam.beta_2),
        fresh_1=np.float32(1 - adam.beta_1),
        fresh_2=np.float32(1 - adam.beta_2),
        eps=np.float32(adam.eps),
        momentum=np.float32(optimizer.momentum if isinstance(optimizer, SGD) else 0),
        ceiling_factor=np.float32(CEILING),
        factor=_float32([recipe.schedule.factor((step - 1) / recipe.steps) for step in t.tolist()]),
        mean_correction=_float32(1 - adam.beta_1**t),
        square_correction=_float32((1 - adam.beta_2**t) ** 0.5),
        rate=_float32([e.training.learning_rate for e in experiments]),
        decay=_float32([e.training.weight_decay for e in experiments]),
        bias_decay=_float32([e.training.hidden_bias_decay for e in experiments]),
        rotation=rotation,
    )


def _state(experiments: Sequence[Experiment], shape: Shape, start: Parameters) -> State:
    recipe, models = experiments[0].training, len(experiments)
    curve_step, snapshot_step = recipe.curve_steps(), recipe.snapshot_steps()

    def like_theta() -> np.ndarray:
        return aligned(models * shape.size).reshape(models, shape.size)

    return State(
        theta=pack(shape, start),
        mean=like_theta(),
        square=like_theta(),
        before=like_theta(),
        eps=np.zeros(models, np.float32) if start.ln_eps is None else start.ln_eps.numpy().astype(np.float32),
        importance=importances(experiments).astype(np.float32),
        ceiling=_float32([e.best_constant_loss() for e in experiments]),
        diverged_step=np.zeros(models, np.int64),
        curve_step=np.append(curve_step, NEVER),
        curve=np.full((models, len(curve_step)), np.nan, np.float32),  # filled at every point, whatever diverges
        snapshot_step=np.append(snapshot_step, NEVER),
        snapshots=np.zeros((models, len(snapshot_step), shape.size), np.float32),
    )
