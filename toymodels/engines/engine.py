"""Engine: the role of whoever trains models and takes their moments, and what it promises.

An engine takes experiments of one structure and returns `Trained`. A model diverges at a step when its loss, a gradient
or its update is not finite, or its loss exceeds `CEILING` times where it started; the loss after the last step counts
too. It is frozen as it was before that step and marked; its neighbours never notice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory, train_within
from toymodels.training.trained import Trained

CEILING = 1e6


class Advance(float):
    """How many steps all models together advanced since the last call of an `OnStep`; and how they stand."""

    losses: Tensor
    """[model]: the newest batch loss of each model that is known; NaN before there is one. On the autograd engine that
    of its last step; on the others, which keep no more, that of its last of `Training.curve_points`"""

    def __new__(cls, steps: float, losses: Tensor) -> Advance:
        advance = super().__new__(cls, steps)
        advance.losses = losses
        return advance


OnStep = Callable[[Advance], None]
"""Called now and then, on the caller's thread, with how far training has come."""

OnProgress = Callable[[float], None]
"""Called now and then with how many models' worth of training was done since the last call."""

OnNote = Callable[[str], None]
"""Called with one sentence that the user should see."""


class Unsupported(ValueError):
    """An engine was asked for what it has no code for; the sentence names it."""


def unheard(_: object) -> None:
    """A callback for whoever need not be told."""


class Engine(ABC):
    """Trains models and takes their moments, on devices of some kinds. It holds no state between two calls."""

    name: ClassVar[str]
    """what sweeps, run folders and ``--engine`` call it"""
    devices: ClassVar[tuple[str, ...]]
    """the kinds of device that it is for: where it refuses something on one of these, that is worth saying; the device
    "auto" is one of these"""
    independent: ClassVar[bool] = False
    """whether a model is the same bits whatever is trained beside it, and every tensor that it keeps has the model axis
    first. Then an executor may train several packs at once, keep each by itself, and go on with those that were kept at
    one step."""

    @abstractmethod
    def refuses(
        self, experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> str | None:
        """Why it cannot train these experiments of one structure there, in a sentence; None if it can.

        A question about its code, which every machine answers alike. What a machine must have is asked of `lacks`.
        """

    def lacks(self, device: str = "cpu") -> str | None:
        """What this machine lacks for the engine to train on its device, in a sentence; None if nothing.

        The device itself is there. To be asked where models are trained, which need not be where a run is begun.
        """
        return None

    def judges_by_one(self) -> bool:
        """Whether it refuses all experiments of a structure where it refuses one: so that one may stand for all."""
        return True

    def models_at_once(self, experiments: Sequence[Experiment], device: str = "cpu") -> int:
        """How many models like these it takes to keep the device busy: where a pack has fewer, and the engine is
        `independent`, several are trained in one batch."""
        return len(experiments)

    def resources(self, experiments: Sequence[Experiment], device: str = "cpu") -> Mapping[str, Any]:
        """What each of its kernels for one structure takes of a device, by the kernel's name, plain for a record; of an
        engine without kernels that a GPU runs nothing."""
        return {}

    @abstractmethod
    def bytes_needed(self, experiments: Sequence[Experiment], dtype: torch.dtype = torch.float32) -> int:
        """Upper estimate of the memory that training these models of one structure at once takes, in bytes."""

    @abstractmethod
    def prepare(self, on_note: OnNote = unheard) -> None:
        """Make ready what it needs before it trains, such as compiled kernels; at once where that was done before.

        ``on_note`` is told beforehand what takes long, and afterwards what will take as long again.
        """

    @abstractmethod
    def train(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        on_step: OnStep | None = None,
        keep: Keep | None = None,
    ) -> Trained:
        """Train models of one structure at once; the result is on the CPU, in the order given.

        An interruption saves where they stand into ``keep``. Raises ``ValueError`` for experiments of several
        structures, `Unsupported` for what it `refuses` or this machine `lacks`, and whatever a refused allocation
        raises.
        """

    @abstractmethod
    def moments(
        self, experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """Sums over fresh samples of each model's own stream, one dictionary for the samples between two ``edges``.

        A dictionary holds every row of `toymodels.engines.moment_table.TABLE` by its key, float64 [model, *axes]. All
        edges but the last are multiples of 64.
        """

    @abstractmethod
    def rotated_r2(
        self, experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
    ) -> Tensor:
        """R^2 of the best affine read-out of each target from one neuron, of models whose hidden basis is rotated.

        max_k corr(t_i, post_k)^2 with post of Q z, z = W_in x + b_in (of a decoder W_in E x + b_in), for every Q of
        ``rotations [draw, hidden, hidden]``: float64 [model, draw, target]. On the ``samples`` samples from ``first``
        on, a multiple of 64, of each model's own evaluation stream. A neuron that does not vary, or by less than a
        millionth of its mean, explains 0; NaN where the target does not vary.
        """

    @abstractmethod
    def fingerprint(self) -> Mapping[str, str]:
        """What, beside the experiments and the device, the bytes depend on that it makes: by name, in words."""

    @undisturbed
    def train_each(
        self,
        batches: Iterable[Sequence[Experiment]],
        device: str = "cpu",
        on_progress: OnProgress = unheard,
        memory_bytes: Callable[[], int | None] = lambda: None,
        keep: Callable[[int], Keep | None] = lambda _: None,
    ) -> Generator[Trained | OutOfMemory]:
        """Train batch after batch, each of one structure, in float32; a batch that does not fit is the reason why.

        Batches are asked for as they are needed. ``memory_bytes`` is what one batch may take; one that needs more is
        trained in halves. ``keep`` gives what keeps a batch while it is trained: it is called right after the batch was
        asked for, with its number, counted from 0. Where the generator is closed, what is unfinished is saved.
        """
        for number, experiments in enumerate(batches):
            yield self.in_halves(experiments, device, on_progress, memory_bytes(), keep(number))

    def in_halves(
        self,
        experiments: Sequence[Experiment],
        device: str,
        on_progress: OnProgress,
        budget: int | None,
        keep: Keep | None,
    ) -> Trained | OutOfMemory:
        """Train one batch in float32, in halves as often as it takes to stay within ``budget`` bytes."""

        def run(some: Sequence[Experiment], keep: Keep | None) -> Trained:
            a_step = len(some) / some[0].training.steps
            return self.train(some, device, on_step=lambda advance: on_progress(a_step * advance), keep=keep)

        try:
            return train_within(run, experiments, needs=self.bytes_needed, budget=budget, keep=keep)
        except OutOfMemory as error:
            return error
