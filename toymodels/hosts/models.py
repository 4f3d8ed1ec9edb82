"""Models: trained models of this package as a host, with the experiments that made them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Hidden, Parameters, directions, hidden
from toymodels.engines.engine import Engine
from toymodels.engines.registry import choose
from toymodels.examples import Examples, Source
from toymodels.hosts.host import Host
from toymodels.losses import Loss, Squared
from toymodels.objectives import stated_variance
from toymodels.responses import mean_active_values, response_sizes, sides
from toymodels.surroundings import undisturbed
from toymodels.targets import is_binary
from toymodels.training.experiment import Experiment, check_one_structure, examples_of, importances


@dataclass(frozen=True)
class Models(Host):
    """Models of one structure: bottlenecks, decoders, or constructed ones. Their data is their own evaluation stream.

    Raises ``ValueError`` for experiments of several structures, and for parameters of another number of models.
    """

    experiments: Sequence[Experiment]
    parameters: Parameters

    def __post_init__(self) -> None:
        check_one_structure(self.experiments)
        if len(self.experiments) != len(self.parameters.W_in):
            raise ValueError(
                f"parameters: expected those of {len(self.experiments)} models, got {len(self.parameters.W_in)}"
            )

    @property
    def first(self) -> Experiment:
        """The experiment of the first model: its structure is that of all."""
        return self.experiments[0]

    @property
    def bottleneck(self) -> Bottleneck:
        """What all of them are, but for each one's own eps and start."""
        return self.first.bottleneck

    @property
    def n_targets(self) -> int:
        """How many numbers a model must say of x."""
        return self.first.n_targets

    @property
    def of_features(self) -> bool:
        """Whether what a model must say is a number a feature."""
        return self.first.target.of_features

    @property
    def cost(self) -> Loss:
        """What an error costs."""
        return self.first.cost

    @property
    def importance(self) -> Tensor:
        """What an error in each target costs, float64 [model, target]."""
        return torch.from_numpy(importances(self.experiments))

    @property
    def signed(self) -> bool:
        """Whether a feature can be below 0."""
        return self.first.features.signed

    @property
    def binary(self) -> bool:
        """Whether every target is 0 or 1."""
        return is_binary(self.first.features, self.first.target)

    @property
    def engine(self) -> Engine:
        """The engine that "auto" means for these models where their parameters are."""
        W_in = self.parameters.W_in
        return choose("auto", [self.experiments], W_in.device.type, W_in.dtype).engine

    def examples(self, first: int, samples: int) -> Examples:
        """Samples of each model's own evaluation stream; a feature is active where x is not 0."""
        return self._source(first, samples)

    @cached_property
    def _source(self) -> Source:
        return examples_of(self.experiments, self.parameters.W_in)

    def stated_constant_loss(self) -> Tensor | None:
        """sum_i I_i min_c E loss(t_i, c), float64 [model]; None of a squared loss whose target has no closed form."""
        e = self.first
        if isinstance(e.loss, Squared) and stated_variance(e.features, e.target, e.seed) is None:
            return None
        return torch.tensor([each.best_constant_loss() for each in self.experiments], dtype=torch.float64)

    def moments(self, edges: Sequence[int]) -> list[dict[str, Tensor]]:
        """See `Host`; by the models' `engine`."""
        return self.engine.moments(self.experiments, self.parameters, edges)

    def rotated_r2(self, rotations: Tensor, first: int, samples: int) -> Tensor:
        """See `Host`; by the models' `engine`, ``first`` a multiple of 64."""
        return self.engine.rotated_r2(self.experiments, self.parameters, rotations, first, samples)

    def without(self, examples: Examples, pre: Tensor, feature: Tensor, sample: Tensor) -> Tensor:
        """z - W_in x_i e_i, or z - W_in E x_i e_i: see `Host`."""
        return pre[:, :, sample] - directions(self.parameters)[:, :, feature] * examples.x[:, feature, sample]

    def response_sizes(self) -> Tensor:
        """See `toymodels.responses`."""
        values = mean_active_values(self.experiments, self.parameters.W_in)
        return response_sizes(self.bottleneck, self.parameters, values, signed=self.signed)

    @undisturbed
    def directions(self, tap: str) -> Tensor:
        """Delta_i = tap(e_i) - tap(0), with e_i at the feature's mean active value: see `Host`."""
        n, like = self.first.features.n, self.parameters.W_in
        each = [sign * torch.eye(n) for sign in sides(signed=self.signed)]
        alone = torch.cat([*each, torch.zeros(n, 1)], 1).to(like)  # the last column is x = 0
        x = alone * mean_active_values(self.experiments, like)[:, :, None]
        response = getattr(self.taps(x), tap)
        return response[:, :, :-1] - response[:, :, -1:]

    def rest(self) -> Hidden:
        """The hidden layer of x = 0."""
        W_in = self.parameters.W_in
        return hidden(self.bottleneck, self.parameters, W_in.new_zeros(len(self), self.first.features.n, 1))

    def changed(
        self,
        parameters: Parameters,
        bottleneck: Callable[[Bottleneck], Bottleneck] | None = None,
        *,
        loss: Loss | None = None,
    ) -> Models:
        """See `Host`. Where experts go, so does what balances them."""
        if bottleneck is None and loss is None:
            return Models(self.experiments, parameters)
        each = {e.bottleneck for e in self.experiments}
        others = {b: b if bottleneck is None else bottleneck(b) for b in each}

        def other(e: Experiment) -> Experiment:
            b, training = others[e.bottleneck], e.training
            training = training if b.experts else replace(training, load_balance=0.0)
            return replace(e, bottleneck=b, training=training, loss=e.loss if loss is None else loss)

        return Models([other(e) for e in self.experiments], parameters)

    def __getitem__(self, part: slice) -> Models:
        return Models(self.experiments[part], self.parameters[part])
