"""The autograd engine: plain PyTorch on any device. The reference for every other engine.

All models of one structure train at once on the leading ``model`` axis. Their losses are summed, so each model's
gradient is its own; optimizer state, learning rate and weight decay are per model too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Parameters, forward, initialise
from toymodels.objectives import losses
from toymodels.training.contract import CEILING, OnStep
from toymodels.training.experiment import Experiment, check_one_structure, sampler
from toymodels.training.trained import Trained

REPORT_EVERY = 50


def train(
    experiments: Sequence[Experiment],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_step: OnStep | None = None,
) -> Trained:
    """Train the models of ``experiments``, which share one structure. Raises ``ValueError`` if they do not."""
    check_one_structure(experiments)
    first = experiments[0]
    recipe = first.training
    data = sampler(experiments, device)

    def per_model(values: Sequence[float] | np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=device)

    importance = per_model(np.stack([e.importance() for e in experiments]))
    rate = per_model([e.training.learning_rate for e in experiments])
    decay = per_model([e.training.weight_decay for e in experiments])
    scale = per_model([e.best_constant_loss() for e in experiments])

    parameters = initialise([e.bottleneck for e in experiments], data, dtype)
    weights = parameters.trained()
    for weight in weights.values():
        weight.requires_grad_()
    directions = {name: recipe.optimizer.begin(name, weight.detach(), data.seeds) for name, weight in weights.items()}

    curve_step, snapshot_step = recipe.curve_steps(), recipe.snapshot_steps()
    keep_loss, keep_weights = set(curve_step.tolist()), set(snapshot_step.tolist())
    curve: list[Tensor] = []
    snapshots: dict[str, list[Tensor]] = {name: [] for name in weights}
    diverged_step = torch.zeros(len(experiments), dtype=torch.int64, device=device)
    ceiling = torch.full_like(rate, torch.inf)
    before: dict[str, Tensor] = {}

    def keep_snapshot() -> None:
        for name, weight in weights.items():
            snapshots[name].append(weight.detach().clone())

    def batch_loss(t: int) -> Tensor:
        x = data.training(t - 1, recipe.batch).to(dtype)
        return losses(importance, first.target(x), forward(first.bottleneck, parameters, x).out)

    for t in range(1, recipe.steps + 1):
        loss = batch_loss(t)
        gradients = torch.autograd.grad(loss.sum(), list(weights.values()))
        with torch.no_grad():
            loss = loss.detach()
            if t == 1:
                ceiling = CEILING * (loss + scale)
            sound = _sound(loss, ceiling) & _finite(gradients)
            step_rate = rate * recipe.schedule.factor((t - 1) / recipe.steps)
            updates = [
                _over(step_rate, weight)
                * directions[name](torch.where(_over(sound, weight), gradient, 0.0), weight, _over(decay, weight), t)
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            ]
            sound &= _finite(updates)
            diverged_step = torch.where((diverged_step == 0) & ~sound, t, diverged_step)
            alive = diverged_step == 0
            if t == recipe.steps:
                before = {name: weight.clone() for name, weight in weights.items()}
            for weight, update in zip(weights.values(), updates, strict=True):
                weight -= torch.where(_over(alive, weight), update, 0.0)
        if t in keep_loss:
            curve.append(loss)
        if t in keep_weights and t < recipe.steps:
            keep_snapshot()
        if on_step and (t % REPORT_EVERY == 0 or t == recipe.steps):
            on_step((t - 1) % REPORT_EVERY + 1)

    with torch.no_grad():
        overshot = (diverged_step == 0) & ~_sound(batch_loss(recipe.steps + 1), ceiling)
        diverged_step = torch.where(overshot, recipe.steps, diverged_step)
        for name, weight in weights.items():
            weight.copy_(torch.where(_over(overshot, weight), before[name], weight))
    if recipe.steps in keep_weights:
        keep_snapshot()

    trained = {name: weight.detach().cpu() for name, weight in weights.items()}
    ln_eps = None if parameters.ln_eps is None else parameters.ln_eps.cpu()
    return Trained(
        experiments=tuple(experiments),
        parameters=Parameters(**trained, ln_eps=ln_eps),
        curve_step=curve_step,
        curve=torch.stack(curve, dim=1).cpu(),
        diverged_step=diverged_step.cpu(),
        snapshot_step=snapshot_step,
        snapshots={name: torch.stack(kept, dim=1).cpu() for name, kept in snapshots.items() if kept},
        sub_batches=(len(experiments),),
    )


def _sound(loss: Tensor, ceiling: Tensor) -> Tensor:
    """Models whose loss is finite and under its ceiling: bool [model]."""
    return torch.isfinite(loss) & (loss <= ceiling)


def _finite(tensors: Sequence[Tensor]) -> Tensor:
    """Models all of whose entries are finite: bool [model]."""
    return torch.stack([torch.isfinite(tensor).flatten(1).all(1) for tensor in tensors]).all(0)


def _over(per_model: Tensor, like: Tensor) -> Tensor:
    """A value a model, shaped to broadcast over a parameter."""
    return per_model.view((-1,) + (1,) * (like.dim() - 1))
