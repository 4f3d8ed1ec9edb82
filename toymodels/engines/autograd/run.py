"""A run of the autograd engine: models of one structure on their way, step by step, all at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, forward, read
from toymodels.engines.autograd.replay import Replayed, recorder_for
from toymodels.engines.autograd.timetable import Timetable
from toymodels.engines.engine import CEILING
from toymodels.features import Sampler
from toymodels.gains import imbalance, probabilities
from toymodels.objectives import contributions, losses
from toymodels.sparsity import block_mask
from toymodels.training.experiment import Experiment, importances, sampler, start, target_of
from toymodels.training.optimizers import Timed, length_beyond_one
from toymodels.training.pruning import pruned
from toymodels.training.trained import Trained


class TrainingRun:
    """Models on their way: where they stand after ``t`` steps.

    A step puts new tensors in the place of old ones; the curve and the snapshots alone are filled in place, beyond what
    is there. So a `state` stays what it was, wherever the next step is interrupted. `advance` is the part of a step
    that is tensors alone: on a GPU its kernels are recorded and replayed (`toymodels.engines.autograd.replay`).
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
        shares = np.array([e.training.weights_kept for e in experiments])
        self.shares, self.prunes = torch.from_numpy(shares).to(device), bool(shares.min() < 1)
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
        self.done = torch.zeros((), dtype=torch.int64, device=device)
        """`t` on the device"""
        self.timetable = Timetable(self.recipe.schedule, self.recipe.steps, self.directions, self.rate)

        on = torch.device(device)
        self.waits = on.type == "cpu"
        """whether a step is done when the call returns, as it is on a CPU"""
        counted = isinstance(self.data, Sampler) and len(self.timetable.timed) == len(self.directions)
        self.recorder = recorder_for(on) if counted else None
        self.replayed = Replayed(self.advance, self.moving, self.put, self.recorder) if self.recorder else None

    def aside(self) -> AbstractContextManager[None]:
        """What all steps of the run are taken in."""
        return self.recorder.aside() if self.recorder else nullcontext()

    @property
    def in_place(self) -> bool:
        """Whether a step now writes into the tensors that are there."""
        return self.replayed is not None and self.replayed.replay is not None

    def step(self) -> None:
        """One step more, of the models that have not diverged."""
        self.timetable.reach(self.t)
        (self.replayed or self.advance)()
        self.t += 1
        if self.t in self.points:
            self.curve[:, self.points[self.t]] = self.losses
        if self.t < self.recipe.steps:
            self._keep_snapshot()

    def advance(self) -> None:
        """The step after ``done`` steps. Of `t` it knows no more than whether this is the first, which is never
        recorded: all else is in tensors."""
        weights = {name: weight.requires_grad_() for name, weight in self.weights.items()}
        loss, cost = self._batch_loss()
        gradients = torch.autograd.grad(cost.sum(), list(weights.values()))
        gradients = [self._there(name, gradient) for name, gradient in zip(weights, gradients, strict=True)]
        with torch.no_grad():
            loss, done, numbers = loss.detach(), self.done + 1, self.timetable.row(self.done)
            ceiling = CEILING * (loss + self.scale) if self.t == 0 else self.ceiling
            sound = _sound(loss, ceiling) & _finite(gradients)
            step_rate = self.rate * numbers[0]
            updates = [
                _over(step_rate, weight)
                * self._there(
                    name,
                    self._direction(name, torch.where(_over(sound, weight), gradient, 0.0), weight, numbers),
                )
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
            ]
            sound &= _finite(updates)
            diverged_step = torch.where((self.diverged_step == 0) & ~sound, done, self.diverged_step)
            alive = diverged_step == 0
            moved = {name: weight - update for (name, weight), update in zip(weights.items(), updates, strict=True)}
            if self.prunes:
                moved = pruned(moved, self.shares, done, self.recipe.steps)
            self.before, self.ceiling, self.diverged_step = weights, ceiling, diverged_step
            self.weights = {
                name: torch.where(_over(alive, weight), moved[name], weight) for name, weight in weights.items()
            }
            self.losses, self.done = loss, done

    def _direction(self, name: str, gradient: Tensor, weight: Tensor, numbers: Tensor) -> Tensor:
        """Where the step of these ``numbers`` takes a parameter, whose gradient is that of sound models or 0."""
        direction, decay = self.directions[name], self._decay(name, weight)
        if isinstance(direction, Timed):
            return direction.directed(gradient, weight, decay, numbers[self.timetable.places[name]])
        return direction(gradient, weight, decay, self.t + 1)

    def judge_last_step(self) -> None:
        """What the last step did to the loss: a model that it made diverge goes back before it."""
        with torch.no_grad():
            sound = _sound(self._batch_loss()[0], self.ceiling)
            overshot = (self.diverged_step == 0) & ~sound
            self.diverged_step = torch.where(overshot, self.t, self.diverged_step)
            self.weights = {
                name: torch.where(_over(overshot, weight), self.before[name], weight)
                for name, weight in self.weights.items()
            }
        self._keep_snapshot()

    def _batch_loss(self) -> tuple[Tensor, Tensor]:
        """Of the batch after ``done`` steps: the loss, which is reported and judged, and what is minimised, the loss
        with what activations and an uneven load of experts cost."""
        batch = self.recipe.batch
        if isinstance(self.data, Sampler) and not self.waits:
            x = self.data.training(self.done, batch).to(self.rate.dtype)
        else:
            x = self.data.training(self.t, batch).to(self.rate.dtype)
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
        changing = self._changing()
        if self.in_place:
            changing = {name: tensor.detach().clone() for name, tensor in changing.items()}
        snapshots = {f"snapshot.{name}": kept for name, kept in self.snapshots.items()}
        step = torch.full((len(self.experiments),), self.t)
        return {"step": step, "curve": self.curve, **changing, **snapshots}

    def _changing(self) -> dict[str, Tensor]:
        """Of a `state` what `advance` replaces."""
        return {
            "diverged_step": self.diverged_step,
            "ceiling": self.ceiling,
            **{f"weight.{name}": weight for name, weight in self.weights.items()},
            **{
                f"optimizer.{name}.{what}": tensor
                for name, direction in self.directions.items()
                for what, tensor in direction.state.items()
            },
        }

    def moving(self) -> dict[str, Tensor]:
        """Every tensor that `advance` replaces, by name."""
        before = {f"before.{name}": weight for name, weight in self.before.items()}
        return {"done": self.done, "losses": self.losses, **self._changing(), **before}

    def put(self, moving: Mapping[str, Tensor]) -> None:
        """Put tensors in the place of those that are `moving`."""
        self.done, self.losses = moving["done"], moving["losses"]
        self.before = {name: moving[f"before.{name}"] for name in self.before}
        self._put(moving)

    def _put(self, changing: Mapping[str, Tensor]) -> None:
        self.diverged_step, self.ceiling = changing["diverged_step"], changing["ceiling"]
        self.weights = {name: changing[f"weight.{name}"] for name in self.weights}
        for name, direction in self.directions.items():
            direction.state = {what: changing[f"optimizer.{name}.{what}"] for what in direction.state}

    def put_back(self, state: Mapping[str, Tensor] | None) -> None:
        """Go on from a `state`, if there is one."""
        if state is None:
            return
        now = self.state()
        # Into tensors like those at the start: laid out otherwise, products would round otherwise.
        state = {name: torch.empty_like(now[name]).copy_(tensor) for name, tensor in state.items()}
        self.t, self.curve = int(state["step"][0]), state["curve"]
        self.done = torch.full_like(self.done, self.t)
        self.snapshots = {name: state[f"snapshot.{name}"] for name in self.snapshots}
        self._put(state)

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


def _sound(loss: Tensor, ceiling: Tensor) -> Tensor:
    """Models whose loss is finite and under its ceiling: bool [model]."""
    return torch.isfinite(loss) & (loss <= ceiling)


def _finite(tensors: Sequence[Tensor]) -> Tensor:
    """Models all of whose entries are finite: bool [model]."""
    return torch.stack([torch.isfinite(tensor).flatten(1).all(1) for tensor in tensors]).all(0)


def _over(per_model: Tensor, like: Tensor) -> Tensor:
    """A value a model, shaped to broadcast over a parameter."""
    return per_model.view((-1,) + (1,) * (like.dim() - 1))
