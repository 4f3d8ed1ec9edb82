"""Data: x that is not drawn from laws but from elsewhere, such as a fixed array or a sampler of one's own.

It stands where `toymodels.features.Features` stand, in an `Experiment`. What a model sees is still a function of its
seed, the step and the sample alone, so it is the same whatever trains beside it. The autograd engine trains on it.

    class Nested(tm.Data):
        def draw(self, seed, first, samples, step):  # feature i is active in half of what feature i - 1 is active in
            return (self.uniforms(seed, first, samples, step) < 0.5).cumprod(0).float()

    experiment = tm.Experiment(Nested(n=5), tm.Bottleneck(2))
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from toymodels import random
from toymodels.checks import SEED, Whole, expect
from toymodels.features import MAX_FEATURES, Features, Importance, Sampler
from toymodels.random import Domain
from toymodels.surroundings import undisturbed

MEASURED_ON = 2**16
"""samples from which is measured what nobody states"""
MEASURED_AT_ONCE = 2**24
"""numbers in them, at most"""


def measured_samples(n: int) -> int:
    """How many samples of ``n`` features stand for all, a multiple of 4: `MEASURED_ON`, fewer where n is large."""
    return min(MEASURED_ON, MEASURED_AT_ONCE // n // 4 * 4 + 4)


class Data(ABC):
    """Samples of ``n`` features. A subclass defines `draw`, and `population` where all its samples can be listed."""

    def __init__(self, n: int, importance: Importance | None = None) -> None:
        self.n = Whole(1, MAX_FEATURES)("n", n)
        self.importance = Importance() if importance is None else importance
        """I_i, of law and shuffle as in `Features`"""
        expect(Importance, "Importance(tm.Geometric(0.9))", importance=self.importance)

    @abstractmethod
    def draw(self, seed: int, first: int, samples: int, step: int | None) -> Tensor:
        """x of samples ``first`` to ``first + samples - 1``, float32 ``[feature, sample]``, on the CPU.

        Of the training batch of ``step``, counted from 0; of the evaluation data where ``step`` is None, for which
        ``first`` is a multiple of 4, and 2^33 or more where they are streamed (`tm.host`). A function of its arguments
        alone: the same call gives the same x.
        """

    def uniforms(self, seed: int, first: int, samples: int, step: int | None) -> Tensor:
        """Uniforms in (0, 1) of the stream to make these samples of, float64 ``[feature, sample]``."""
        return torch.from_numpy((_words(self.n, seed, first, samples, step) + 0.5) / 2.0**32)

    def population(self) -> Tensor | None:
        """All samples there are, equally likely, ``[feature, sample]``; None where they cannot be listed."""
        return None

    @property
    def structure(self) -> Hashable:
        """What must be equal for models to train together: the very same data."""
        return self

    @cached_property
    def typical(self) -> Tensor:
        """Samples that stand for all: the population, or evaluation data of seed 0; ``[feature, sample]``."""
        everything = self.population()
        if everything is not None:
            return everything
        return checked(self, 0, 0, measured_samples(self.n), None)

    def probabilities(self) -> np.ndarray:
        """P(x_i != 0), measured: float64 ``[feature]``."""
        return (self.typical != 0).double().mean(1).numpy()

    def both_active(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """P(x_i != 0 and x_j != 0) of features i = ``first[q]`` and j = ``second[q]``, measured: float64 ``[q]``."""
        active = self.typical != 0
        sides = (torch.from_numpy(np.array(side)) for side in (first, second))  # copies, as torch wants to write
        return torch.stack([active[side] for side in sides]).all(0).double().mean(1).numpy()

    @cached_property
    def signed(self) -> bool:
        """Whether any value is negative, as measured."""
        return bool((self.typical < 0).any())

    def mean_active_value(self) -> np.ndarray:
        """E|x_i| given x_i != 0, measured: float64 ``[feature]``; 0 for a feature that is never active."""
        x = self.typical.double()
        return (x.abs().sum(1) / (x != 0).sum(1).clamp(min=1)).numpy()


class Dataset(Data):
    """The rows of an array x ``[example, feature]``, each drawn equally often, with replacement.

    Models over equal arrays train together.

    Sample s of a seed is row floor(w rows / 2^32), w the stream's word of feature 0 (domain ``DATA`` or
    ``EVALUATION``): a row's probability is 1 / rows to 2^-32. Kept as a float32 copy. Raises ``TypeError`` for what is
    no array of numbers, ``ValueError`` unless it has two axes, one row or more, and finite values.
    """

    def __init__(self, x: Tensor | np.ndarray, importance: Importance | None = None) -> None:
        if not isinstance(x, Tensor | np.ndarray):
            raise TypeError(f"x: expected an array [example, feature] of NumPy or torch, got {type(x).__name__}")
        if x.is_complex() if isinstance(x, Tensor) else x.dtype.kind not in "fiub":
            raise TypeError(f"x: expected real numbers, got {x.dtype}")
        if len(x.shape) != 2 or 0 in x.shape:
            raise ValueError(f"x: expected an array [example, feature] of one row or more, got shape {tuple(x.shape)}")
        super().__init__(x.shape[1], importance)
        numbers = x.detach().cpu().float().numpy() if isinstance(x, Tensor) else x
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            self._x = torch.from_numpy(np.array(numbers.T, np.float32, order="C"))
        self._content = self._x.shape, hashlib.sha256(self._x.numpy().data).digest()
        wrong = (~self._x.isfinite()).nonzero()
        if len(wrong):
            feature, row = wrong[0].tolist()
            raise ValueError(
                f"x: expected finite float32 numbers, got {x[row, feature]:g} for feature {feature} of row {row}"
            )

    @property
    def structure(self) -> Hashable:
        """Arrays of the same numbers are the same data."""
        return self._content

    def draw(self, seed: int, first: int, samples: int, step: int | None) -> Tensor:
        word = _words(1, seed, first, samples, step)[0].astype(np.uint64)
        rows = word * np.uint64(self._x.shape[1]) >> np.uint64(32)
        return self._x[:, torch.from_numpy(rows.astype(np.int64))]

    def population(self) -> Tensor:
        return self._x


def _words(features: int, seed: int, first: int, samples: int, step: int | None) -> np.ndarray:
    """Words of the data of a step, or of the evaluation data: uint32 ``[feature, sample]``."""
    domain = Domain.EVALUATION if step is None else Domain.DATA
    return random.words(np.array([seed]), features, samples, step or 0, domain, first)[0]


Inputs = Features | Data
"""What an experiment's x is drawn from."""


class Samples(Protocol):
    """x of a batch of models, as `Sampler` draws it from features and `DataSampler` from data."""

    n: int
    seeds: np.ndarray
    device: torch.device

    def training(self, step: int, batch: int) -> Tensor:
        """The training batch of ``step``: x as float32 ``[model, feature, batch]``."""
        ...

    def evaluation(self, first_sample: int, samples: int) -> Tensor:
        """Fresh samples from ``first_sample`` (a multiple of 4): x as float32 ``[model, feature, samples]``."""
        ...


class DataSampler:
    """Draws x for a batch of models that share their data, one seed a model."""

    def __init__(self, data: Data, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.data, self.n, self.device = data, data.n, torch.device(device)
        self.seeds = np.array([SEED("seed", seed) for seed in seeds], dtype=np.int64)

    def training(self, step: int, batch: int) -> Tensor:
        """See `Samples`."""
        return self._stacked(0, batch, step)

    def evaluation(self, first_sample: int, samples: int) -> Tensor:
        """See `Samples`."""
        return self._stacked(first_sample, samples, None)

    def _stacked(self, first: int, samples: int, step: int | None) -> Tensor:
        x = torch.stack([checked(self.data, seed, first, samples, step) for seed in self.seeds.tolist()])
        return x.to(self.device)


@undisturbed
def checked(data: Data, seed: int, first: int, samples: int, step: int | None) -> Tensor:
    """What `Data.draw` gives, once it is what it should be; raises ``TypeError`` or ``ValueError`` where it is not."""
    x, name = data.draw(seed, first, samples, step), type(data).__name__
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name}.draw: expected a tensor of torch.float32, got {got}")
    if x.shape != (data.n, samples):
        raise ValueError(f"{name}.draw: expected shape [{data.n}, {samples}], got {list(x.shape)}")
    if not x.isfinite().all():
        raise ValueError(f"{name}.draw: expected finite numbers, got NaN or infinity")
    return x


def samples_of(inputs: Sequence[Inputs], seeds: Sequence[int], device: torch.device | str = "cpu") -> Samples:
    """What draws x of models of one structure, each from its own inputs and seed."""
    first = inputs[0]
    if isinstance(first, Data):
        return DataSampler(first, seeds, device)
    return Sampler([each for each in inputs if isinstance(each, Features)], seeds, device)
