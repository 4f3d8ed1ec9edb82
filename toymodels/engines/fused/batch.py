"""Batch: what the kernels see of experiments of one structure, as codes and as arrays by model and by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike

from toymodels.bottleneck import Parameters
from toymodels.data import Samples
from toymodels.engines.engine import CEILING
from toymodels.engines.fused.codes import OPTIMIZER_CODES, VALUE_CODES
from toymodels.engines.fused.layout import fixed_embedding, pack, shape_of, unpack
from toymodels.features import Sampler
from toymodels.kernels import products
from toymodels.kernels.bottleneck import Own
from toymodels.kernels.draw import Source
from toymodels.kernels.shape import Shape
from toymodels.kernels.steps import State
from toymodels.kernels.update import Rule
from toymodels.kernels.workspace import Work, aligned
from toymodels.rotations import haar
from toymodels.targets import And
from toymodels.training.experiment import Experiment, importances, sampler, start
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.trained import Trained

NEVER = np.iinfo(np.int64).max
"""A step that does not come."""


def bytes_needed(experiments: Sequence[Experiment]) -> int:
    """The memory that training these models of one structure takes, apart from a few rows a thread: never a batch.

    Theta, two moments, one step back and the snapshots twice; what each feature is drawn from; a fixed embedding, as
    drawn and as kernels have it; the pairs of features; 12 bytes a step.
    """
    shape, recipe = shape_of(experiments[0]), experiments[0].training
    embedding = 5 * products.padded(shape.n) * shape.input_pitch
    a_model = shape.size * (4 + 2 * recipe.snapshots) + 8 * shape.n + recipe.curve_points + embedding
    a_model += 5 * shape.outputs
    return 4 * len(experiments) * a_model + 12 * recipe.steps


@dataclass(frozen=True)
class Batch:
    """Models of one structure as the kernels see them."""

    experiments: tuple[Experiment, ...]
    shape: Shape
    source: Source
    rule: Rule
    own: Own
    state: State
    start: Parameters

    @staticmethod
    def of(experiments: Sequence[Experiment]) -> Batch:
        """Everything that the kernels need, with the models at their start."""
        data, shape = sampler(experiments), shape_of(experiments[0])
        at_start = start(experiments, data)
        return Batch(
            experiments=tuple(experiments),
            shape=shape,
            source=source_of(data),
            rule=_rule(experiments, data),
            own=own_of(experiments, shape, at_start),
            state=_state(experiments, shape, at_start),
            start=at_start,
        )

    def __len__(self) -> int:
        return len(self.experiments)

    def arguments(self, work: Work) -> tuple:
        """What every kernel of `steps` takes first."""
        return self.shape, self.source, self.rule, self.own, self.state, work

    def step_flop(self) -> float:
        """Of one model: two products with W_in, three with W_out, and those with an embedding."""
        shape = self.shape
        products = 2.0 * shape.inputs * shape.m + 3.0 * shape.outputs * shape.m
        if shape.input_pitch:
            products += shape.n * shape.inputs * (2 if shape.E >= 0 else 1)
        return 2 * products * shape.batch

    def trained(self) -> Trained:
        """The models as their parameters, curves and snapshots stand now, copied out of the kernels' arrays."""
        recipe, state = self.experiments[0].training, self.state
        snapshots = unpack(self.shape, state.snapshots)
        return Trained(
            experiments=self.experiments,
            parameters=replace(self.start, **unpack(self.shape, state.theta)),
            curve_step=recipe.curve_steps(),
            curve=torch.from_numpy(state.curve),
            diverged_step=torch.from_numpy(state.diverged_step),
            snapshot_step=recipe.snapshot_steps(),
            snapshots=snapshots if len(recipe.snapshot_steps()) else {},
            sub_batches=(len(self),),
        )


def source_of(data: Samples) -> Source:
    """What these models draw from, with the values' own law."""
    assert isinstance(data, Sampler)
    return data.source._replace(values=VALUE_CODES[type(data.values)])


def own_of(experiments: Sequence[Experiment], shape: Shape, parameters: Parameters) -> Own:
    """What these models have beside theta."""
    first, models = experiments[0], len(experiments)
    members = np.zeros((models, 0), np.int64)
    if isinstance(first.target, And):
        members = np.stack([first.target.members(shape.n, e.seed).ravel() for e in experiments])
    eps = parameters.ln_eps
    return Own(
        eps=np.zeros(models, np.float32) if eps is None else eps.numpy().astype(np.float32),
        importance=importances(experiments).astype(np.float32),
        embedding=fixed_embedding(shape, parameters),
        members=members,
        l1=_float32([e.training.activation_l1 for e in experiments]),
    )


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
        kind=OPTIMIZER_CODES[type(optimizer)],
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
        weights_kept=np.array([e.training.weights_kept for e in experiments]),
        growth=_float32([e.training.weight_growth for e in experiments]),
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
        ceiling=_float32([e.best_constant_loss() for e in experiments]),
        diverged_step=np.zeros(models, np.int64),
        curve_step=np.append(curve_step, NEVER),
        curve=np.full((models, len(curve_step)), np.nan, np.float32),  # filled at every point, whatever diverges
        snapshot_step=np.append(snapshot_step, NEVER),
        snapshots=np.zeros((models, len(snapshot_step), shape.size), np.float32),
    )
