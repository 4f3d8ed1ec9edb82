"""The fused engine: draw, forward, backward and update in one compiled kernel, each model by itself, on CPU threads.

A model and its data fit in a core's cache, so a run stays there from its first step to its last; nothing of the size of
a batch is ever written to memory. Models are independent, hence bit for bit the same alone, in any batch, on any number
of threads, and whatever else trains beside them. What is computed is what `toymodels.engines.autograd` computes, on
the same data, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence

import torch

from toymodels.engines.engine import Advance, OnProgress, OnStep, Unsupported
from toymodels.engines.fused.crew import Crew, prepare, prepared
from toymodels.engines.fused.layout import bytes_needed, unsupported
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory
from toymodels.training.trained import Trained

__all__ = ["bytes_needed", "prepare", "prepared", "train", "train_each", "unsupported"]


@undisturbed
def train(
    experiments: Sequence[Experiment],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    on_step: OnStep | None = None,
    keep: Keep | None = None,
) -> Trained:
    """Train models of one structure, on as many threads as torch is set to use.

    Raises `Unsupported`, a ``ValueError``, for what this engine has no kernel for.
    """
    if device != "cpu" or dtype != torch.float32:
        raise Unsupported(f"the fused engine computes in float32 on a cpu, not in {dtype} on {device}")
    check_one_structure(experiments)
    steps_a_model = experiments[0].training.steps / len(experiments)
    crew = Crew(torch.get_num_threads())

    def advanced(models: float) -> None:
        if on_step:
            on_step(Advance(steps_a_model * models, crew.newest_losses(0)))

    (trained,) = crew.train_each(iter([experiments]), advanced, lambda _: keep)
    if isinstance(trained, OutOfMemory):
        raise trained
    return trained


@undisturbed
def train_each(
    batches: Iterable[Sequence[Experiment]],
    on_progress: OnProgress | None = None,
    budget: int | None = None,
    keep: Callable[[int], Keep | None] = lambda _: None,
) -> Generator[Trained | OutOfMemory]:
    """Train several batches, each of one structure; the next one begins before a thread is idle.

    That a batch is of one structure is not checked here. Batches are asked for when there is room for them and returned
    in their order; one that does not fit into ``budget`` bytes is returned as the reason. ``keep`` gives what keeps the
    batch of a number. Where the iterator is closed or interrupted, what is unfinished is saved.
    """
    yield from Crew(torch.get_num_threads(), budget).train_each(iter(batches), on_progress, keep)
