"""Batch: experiments of one structure as the kernels read them, on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.data import Samples
from toymodels.drawing import read_by_kernels
from toymodels.engines.engine import CEILING
from toymodels.engines.gpu.form import Form, form_of
from toymodels.features import Sampler
from toymodels.rotations import haar
from toymodels.targets import And
from toymodels.training.experiment import Experiment, importances, sampler, start
from toymodels.training.optimizers import SGD, Adam, RotatedAdam
from toymodels.training.pruning import kept
from toymodels.training.recipe import Training


def bytes_needed(experiments: Sequence[Experiment]) -> int:
    """The memory that training these models of one structure takes on the device: never a batch of samples.

    Theta and two moments before and after a stretch, theta twice more, snapshots; what each feature is drawn from; a
    rotation, a fixed embedding, pairs and importances; the curve.
    """
    form, recipe = form_of(experiments[0]), experiments[0].training
    rotation = form.m**2 if isinstance(recipe.optimizer, RotatedAdam) else 0
    embedding = form.d * form.n if form.embedded and form.E < 0 else 0
    a_model = form.size * (8 + recipe.snapshots) + 4 * form.n + 3 * form.o + rotation + embedding + recipe.curve_points
    return 4 * len(experiments) * a_model


@dataclass(frozen=True)
class GpuBatch:
    """Models of one structure: what they are drawn from, what they have beside their parameters, and their start."""

    experiments: tuple[Experiment, ...]
    form: Form
    source: tuple[Tensor, ...]
    """seeds [model], low, high and divisor [model, feature], member [feature], pairs [model, target, 2]"""
    given: tuple[Tensor, ...]
    """importance [model, target], a fixed embedding [model, embedding, feature], numbers [model, 6]"""
    rotation: Tensor
    """[model, hidden, hidden], or nothing"""
    rule: Tensor
    """the optimizer's beta_2, 1 - beta_1, 1 - beta_2, eps and momentum; how often the first loss is divergence"""
    shares: list[float]
    """each share of weights that some model keeps, once"""
    share: Tensor
    """int32 [model], which of these it keeps"""
    start: Parameters

    @staticmethod
    def of(experiments: Sequence[Experiment], device: str, precision: str = "ieee") -> GpuBatch:
        """Everything that the kernels read and no step changes."""
        data, form = sampler(experiments), form_of(experiments[0], precision)
        at_start = start(experiments, data)
        own = [importances(experiments), _fixed_embedding(form, at_start), _numbers(experiments, at_start)]
        recipe, nothing = experiments[0].training, np.zeros(1)
        rotated = isinstance(recipe.optimizer, RotatedAdam)
        rotation = haar(data.seeds, form.m, step=0).numpy() if rotated else nothing
        shares, share = np.unique([e.training.weights_kept for e in experiments], return_inverse=True)
        return GpuBatch(
            experiments=tuple(experiments),
            form=form,
            source=tuple(torch.from_numpy(each).to(device) for each in _source(experiments, data)),
            given=tuple(_float32(each).to(device) for each in own),
            rotation=_float32(rotation).to(device),
            rule=_float32(_rule(recipe)).to(device),
            shares=shares.tolist(),
            share=torch.from_numpy(share.astype(np.int32)).to(device),
            start=at_start,
        )

    def __len__(self) -> int:
        return len(self.experiments)

    def packed(self) -> Tensor:
        """The parameters at the start as theta [model, parameter], on the CPU."""
        tensors = self.start.trained(self.experiments[0].bottleneck).values()
        return torch.cat([tensor.float().flatten(1) for tensor in tensors], dim=1)

    def unpacked(self, theta: Tensor) -> dict[str, Tensor]:
        """The parameters in ``theta`` [model, ..., parameter], by name, on the CPU."""
        named = self.start.trained(self.experiments[0].bottleneck)
        parts = theta.cpu().split([like[0].numel() for like in named.values()], dim=-1)
        leading = theta.shape[:-1]
        return {
            name: part.reshape(*leading, *like.shape[1:]).contiguous()
            for (name, like), part in zip(named.items(), parts, strict=True)
        }

    def ceilings(self) -> Tensor:
        """What a loss is held against before there is one, [model]: the best constant predictor's."""
        return _float32([e.best_constant_loss() for e in self.experiments])

    def paces(self, begin: int, end: int) -> Tensor:
        """Of steps t in [begin, end): the schedule's factor, 1 - beta_1^t and sqrt(1 - beta_2^t)."""
        recipe, t = self.experiments[0].training, np.arange(begin, end)
        adam = adam_of(recipe)
        factor = [recipe.schedule.factor((step - 1) / recipe.steps) for step in t.tolist()]
        return _float32(np.stack([factor, 1 - adam.beta_1**t, (1 - adam.beta_2**t) ** 0.5], axis=1))

    def points(self, begin: int, end: int) -> Tensor:
        """Which point of the curve and which snapshot each step in [begin, end) is, -1 where it is none: int32."""
        recipe = self.experiments[0].training
        found = np.full((end - begin, 2), -1, np.int32)
        for column, steps in enumerate((recipe.curve_steps(), recipe.snapshot_steps())):
            places = np.arange(len(steps))
            within = (begin <= steps) & (steps < end)
            found[steps[within] - begin, column] = places[within]
        return torch.from_numpy(found)

    def kept(self, begin: int, end: int) -> Tensor:
        """How many numbers of W_in and of W_out stay after each step in [begin, end): int32 [share, step, 2].

        A row for each of the ``shares``, -1 for one that keeps all.
        """
        form, steps = self.form, self.experiments[0].training.steps
        found = np.full((len(self.shares), end - begin, 2), -1, np.int32)
        for row, share in enumerate(self.shares):
            if share < 1:
                for matrix, entries in enumerate((form.d * form.m, form.o * form.m)):
                    of_share = torch.tensor([share], dtype=torch.float64)
                    found[row, :, matrix] = [int(kept(of_share, entries, t, steps)) for t in range(begin, end)]
        return torch.from_numpy(found)

    def with_theta(self, theta: Tensor) -> Parameters:
        """The parameters with those in ``theta`` [model, parameter] in place of those at the start."""
        return replace(self.start, **self.unpacked(theta))


def adam_of(recipe: Training) -> Adam:
    """The Adam of a recipe's optimizer; any where it has none."""
    optimizer = recipe.optimizer
    adam = optimizer.adam if isinstance(optimizer, RotatedAdam) else optimizer
    return adam if isinstance(adam, Adam) else Adam()


def _source(experiments: Sequence[Experiment], data: Samples) -> list[np.ndarray]:
    assert isinstance(data, Sampler)
    target, pairs = experiments[0].target, np.zeros(1, np.int32)
    if isinstance(target, And):
        pairs = np.stack([target.members(data.n, e.seed) for e in experiments]).astype(np.int32)
    return [np.array(each) for each in (*read_by_kernels(data.source), pairs)]


def _fixed_embedding(form: Form, parameters: Parameters) -> np.ndarray:
    fixed = parameters.E is not None and form.E < 0
    return parameters.E.detach().numpy() if fixed and parameters.E is not None else np.zeros(1)


def _numbers(experiments: Sequence[Experiment], parameters: Parameters) -> np.ndarray:
    eps = np.zeros(len(experiments)) if parameters.ln_eps is None else parameters.ln_eps.numpy()
    own = [
        [getattr(e.training, name) for e in experiments]
        for name in ("activation_l1", "learning_rate", "weight_decay", "hidden_bias_decay", "weight_growth")
    ]
    return np.stack([eps, *own], axis=1)


def _rule(recipe: Training) -> list[float]:
    adam, optimizer = adam_of(recipe), recipe.optimizer
    momentum = optimizer.momentum if isinstance(optimizer, SGD) else 0.0
    return [adam.beta_2, 1 - adam.beta_1, 1 - adam.beta_2, adam.eps, momentum, CEILING]


def _float32(values: ArrayLike) -> Tensor:
    with np.errstate(over="ignore"):  # a rate of 1e39 is infinite, and diverges
        return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
