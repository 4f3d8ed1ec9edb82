"""A run of the autograd engine: models of one structure on their way, step by step, all at once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, forward, read
from toymodels.engines.engine import CEILING, Advance, OnStep
from toymodels.gains import imbalance, probabilities
from toymodels.objectives import contributions, losses
from toymodels.sparsity import block_mask
from toymodels.training.experiment import Experiment, importances, sampler, start, target_of
from toymodels.training.keep import Keep, resume
from toymodels.training.optimizers import length_beyond_one
from toymodels.training.pruning import pruned
from toymodels.training.trained import Trained

REPORT_EVERY = 50
REPORT_SECONDS = 0.5
"""Progress is said every so many steps, and where steps are slow every so many seconds."""


def train(
    experiments: Sequence[Experiment], device: str, dtype: torch.dtype, on_step: OnStep | None, keep: Keep | None
) -> Trained:
    """Train these models, of one structure, from where ``keep`` has them or from their start.

    An interruption saves the last whole step into ``keep``.
    """
    run, steps = TrainingRun(experiments, device, dtype), experiments[0].training.steps
    whole: dict[str, Tensor] = {}
    if keep:
        # The last step and the look at what it did are one: a run that can be continued has a step to go.
        run.put_back(resume(keep, run.state(), steps, steps - 1))
        whole = run.state()
    reported, saved = run.t, time.monotonic()
    said = saved
    try:
        while run.t < steps:
            run.step()
            if keep and run.t < steps:
                whole = run.state()
                if time.monotonic() - saved >= keep.seconds:
                    keep.save(_on_cpu(whole))
                    saved = time.monotonic()
            due = run.t % REPORT_EVERY == 0 or run.t == steps or time.monotonic() - said >= REPORT_SECONDS
            if on_step and due:
                on_step(Advance(run.t - reported, run.losses.detach().cpu()))
                reported, said = run.t, time.monotonic()
        run.judge_last_step()
    except BaseException as stop:
        if keep and not isinstance(stop, Exception) and time.monotonic() - saved >= keep.worth_seconds:
            keep.save(_on_cpu(whole))
        raise
    return run.trained()


class TrainingRun:
    """Models on their way: where they stand after ``t`` steps.

    A step puts new tensors in the place of old ones; the curve and the snapshots alone are filled in place, beyond what
    is there. So a `state` stays what it was, wherever the next step is interrupted.
    """

    def __init__(self, experiments: Sequence[Experiment], device: str, dtype: torch.dtype) -> None:
        self.experiments, self.first, self.t = tuple(experiments), experiments[0], 0
        self.recipe, self.data, self.cost = self.first.training, sampler(experiments, device), self.first.cost

        def per_model(values: Sequence[float] | np.ndarray) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=dtype, device=device)

        self.importance = per_model(importances(experiments))
        self.rate = per_model([e.training.learning_rate for e in experiments])
        self.decay = per_model([e.training.weight_decay for e in experiments])
        self.bias_decay = per_model([e.training.weight_decay + e.training.hidden_bias_decay for e in experiments])
        self.shares = [e.training.weights_kept for e in experiments]
        self.growth = per_model([e.training.weight_growth for e in experiments])
        self.grows = bool(self.growth.any())
        self.l1 = per_model([e.training.activation_l1 for e in experiments])
        self.shrinks = bool(self.l1.any())
        self.scale = per_model([e.best_constant_loss() for e in experiments])
        self.balance = per_model([e.training.load_balance for e in experiments]) * self.scale
        self.balances = bool(self.balance.any())

        self.start, self.target = start(experiments, self.data, dtype), target_of(experiments)
        self.weights = self.before = self.start.trained(self.first.bottleneck)
        self.there = _some_there(self.first.bottleneck, self.weights)
        begin = self.recipe.optimizer.begin
        self.directions = {name: begin(name, weight, self.data.seeds) for name, weight in self.weights.items()}

        self.curve_step, self.snapshot_step = self.recipe.curve_steps(), self.recipe.snapshot_steps()
        self.points = {t: place for place, t in enumerate(self.curve_step.tolist())}
        self.shots = {t: place for place, t in enumerate(self.snapshot_step.tolist())}
        models = len(experiments)
        self.curve = torch.zeros(models, len(self.points), dtype=dtype, device=device)
        self.snapshots = {
            name: weight.new_zeros(models, len(self.shots), *weight.shape[1:]) for name, weight in self.weights.items()
        }
        self.diverged_step = torch.zeros(models, dtype=torch.int64, device=device)
        self.ceiling = torch.full_like(self.rate, torch.inf)
        self.losses = torch.full_like(self.rate, torch.nan)
        """[model]: of the last step; not part of the state"""

    def step(self) -> None:
        """One step more, of the models that have not diverged."""
        t, weights = self.t + 1, {name: weight.requires_grad_() for name, weight in self.weights.items()}
        loss, cost = self._batch_loss(t)
        gradients = torch.autograd.grad(cost.sum(), list(weights.values()))
        gradients = [self._there(name, gradient) for name, gradient in zip(weights, gradients, strict=True)]
        with torch.no_grad():
            loss = loss.detach()
            ceiling = CEILING * (loss + self.scale) if t == 1 else self.ceiling
            sound = _sound(loss, ceiling) & _finite(gradients)
            step_rate = self.rate * self.recipe.schedule.factor((t - 1) / self.recipe.steps)
            updates = [
                _over(step_rate, weight)
                * self._there(
                    name,
                    self.directions[name](
                        torch.where(_over(sound, weight), gradient, 0.0),
                        weight,
                        self._decay(name, weight),
                        t,
                    ),
                )
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            ]
            sound &= _finite(updates)
            self.diverged_step = torch.where((self.diverged_step == 0) & ~sound, t, self.diverged_step)
            alive = self.diverged_step == 0
            self.before, self.ceiling, self.t = weights, ceiling, t
            moved = {name: weight - update for (name, weight), update in zip(weights.items(), updates, strict=True)}
            moved = pruned(moved, self.shares, t, self.recipe.steps)
            self.weights = {
                name: torch.where(_over(alive, weight), moved[name], weight) for name, weight in weights.items()
            }
        self.losses = loss
        if t in self.points:
            self.curve[:, self.points[t]] = loss
        if t < self.recipe.steps:
            self._keep_snapshot()

    def judge_last_step(self) -> None:
        """What the last step did to the loss: a model that it made diverge goes back before it."""
        with torch.no_grad():
            sound = _sound(self._batch_loss(self.t + 1)[0], self.ceiling)
            overshot = (self.diverged_step == 0) & ~sound
            self.diverged_step = torch.where(overshot, self.t, self.diverged_step)
            self.weights = {
                name: torch.where(_over(overshot, weight), self.before[name], weight)
                for name, weight in self.weights.items()
            }
        self._keep_snapshot()

    def _batch_loss(self, t: int) -> tuple[Tensor, Tensor]:
        """The loss, which is reported and judged, and what is minimised: the loss with what activations and an uneven
        load of experts cost."""
        x = self.data.training(t - 1, self.recipe.batch).to(self.rate.dtype)
        parameters = self._parameters(self.weights)
        taps = forward(self.first.bottleneck, parameters, x)
        loss = losses(self.importance, self.target(x), taps.out, self.cost)
        cost = loss + self.l1 * contributions(parameters, taps.mid) if self.shrinks else loss
        if parameters.W_router is not None and self.balances:
            cost = cost + self.balance * imbalance(probabilities(parameters.W_router, read(parameters, x)))
        return loss, cost

    def _there(self, name: str, of: Tensor) -> Tensor:
        """A gradient or a direction of a parameter, 0 for the weights that a block-diagonal one has not got."""
        return torch.where(self.there[name], of, 0.0) if name in self.there else of

    def _decay(self, name: str, weight: Tensor) -> Tensor:
        """The share of a parameter that a step takes away, as it broadcasts over it; below 0 it is added."""
        if name == "W_in" and self.grows:
            return _over(self.decay, weight) + _over(self.growth, weight) * length_beyond_one(weight)
        return _over(self.bias_decay if name == "b_in" else self.decay, weight)

    def _parameters(self, weights: Mapping[str, Tensor]) -> Parameters:
        """What is trained, with what stays as it was at the start."""
        return dataclasses.replace(self.start, **weights)

    def _keep_snapshot(self) -> None:
        """If this step is one of those whose weights are kept."""
        if self.t in self.shots:
            for name, weight in self.weights.items():
                self.snapshots[name][:, self.shots[self.t]] = weight.detach()

    def state(self) -> dict[str, Tensor]:
        """Every tensor that a step changes, by name: what is kept of an unfinished run, and put back."""
        return {
            "step": torch.tensor([self.t]),
            "curve": self.curve,
            "diverged_step": self.diverged_step,
            "ceiling": self.ceiling,
            **{f"weight.{name}": weight for name, weight in self.weights.items()},
            **{f"snapshot.{name}": kept for name, kept in self.snapshots.items()},
            **{
                f"optimizer.{name}.{what}": tensor
                for name, direction in self.directions.items()
                for what, tensor in direction.state.items()
            },
        }

    def put_back(self, state: Mapping[str, Tensor] | None) -> None:
        """Go on from a `state`, if there is one."""
        if state is None:
            return
        now = self.state()
        # Into tensors like those at the start: laid out otherwise, products would round otherwise.
        state = {name: torch.empty_like(now[name]).copy_(tensor) for name, tensor in state.items()}
        self.t = int(state["step"])
        self.curve, self.diverged_step, self.ceiling = state["curve"], state["diverged_step"], state["ceiling"]
        self.weights = {name: state[f"weight.{name}"] for name in self.weights}
        self.snapshots = {name: state[f"snapshot.{name}"] for name in self.snapshots}
        for name, direction in self.directions.items():
            direction.state = {what: state[f"optimizer.{name}.{what}"] for what in direction.state}

    def trained(self) -> Trained:
        """The models as their parameters, curves and snapshots stand now, on the CPU."""
        weights = {name: weight.detach().cpu() for name, weight in self.weights.items()}
        return Trained(
            experiments=self.experiments,
            parameters=Parameters(**{name: each.cpu() for name, each in self._parameters(weights).present().items()}),
            curve_step=self.curve_step,
            curve=self.curve.cpu(),
            diverged_step=self.diverged_step.cpu(),
            snapshot_step=self.snapshot_step,
            snapshots={name: kept.cpu() for name, kept in self.snapshots.items()} if self.shots else {},
            sub_batches=(len(self.experiments),),
        )


def _some_there(bottleneck: Bottleneck, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which weights there are, bool [hidden, input], of the parameters that have only some."""
    if not bottleneck.blocks:
        return {}
    in_blocks = [weights[name] for name in ("W_in", "W_gate") if name in weights]
    mask = block_mask(bottleneck.blocks, *in_blocks[0].shape[1:]).to(in_blocks[0].device)
    return dict.fromkeys([name for name in ("W_in", "W_gate") if name in weights], mask)


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _sound(loss: Tensor, ceiling: Tensor) -> Tensor:
    """Models whose loss is finite and under its ceiling: bool [model]."""
    return torch.isfinite(loss) & (loss <= ceiling)


def _finite(tensors: Sequence[Tensor]) -> Tensor:
    """Models all of whose entries are finite: bool [model]."""
    return torch.stack([torch.isfinite(tensor).flatten(1).all(1) for tensor in tensors]).all(0)


def _over(per_model: Tensor, like: Tensor) -> Tensor:
    """A value a model, shaped to broadcast over a parameter."""
    return per_model.view((-1,) + (1,) * (like.dim() - 1))
