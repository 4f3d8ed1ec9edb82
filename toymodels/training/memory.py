"""Memory: a batch that does not fit is trained in halves.

On a CPU the need is estimated beforehand and held against a budget, because an overdrawn CPU kills the process instead
of refusing; on every device a refused allocation halves too. A half computes the same models on the same data: its
weights differ by rounding alone, and `Trained.sub_batches` records it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from toymodels.training.experiment import Experiment
from toymodels.training.keep import Keep
from toymodels.training.trained import Trained, concatenate

LOST = ("CUDA error:", "CUDA driver error:", "CUDA unknown error", "cuDNN error:")
"""how what PyTorch says of a lost GPU begins"""


class OutOfMemory(Exception):
    """Models do not fit, however few are trained at once."""


def train_within(
    train: Callable[..., Trained],
    experiments: Sequence[Experiment],
    *,
    needs: Callable[[Sequence[Experiment]], int],
    budget: int | None = None,
    keep: Keep | None = None,
) -> Trained:
    """``train(experiments, keep=keep)``, in halves as often as it takes to stay within ``budget`` bytes.

    ``needs`` says how many bytes experiments take, as `Engine.bytes_needed` estimates it; each half is kept by its own
    part of ``keep``. Raises `OutOfMemory` when a single model does not fit.
    """
    experiments = list(experiments)
    needed = needs(experiments)
    if budget is None or needed <= budget:
        try:
            return train(experiments, keep=keep)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "allocation refused"
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    else:
        reason = f"it needs about {needed / 2**20:,.0f} MiB, the budget is {budget / 2**20:,.0f} MiB"
    if len(experiments) == 1:
        raise OutOfMemory(f"one model does not fit in memory: {reason}")
    middle = (len(experiments) + 1) // 2
    halves = ((0, middle), (middle, len(experiments)))
    return concatenate(
        [
            train_within(
                train,
                experiments[first:last],
                needs=needs,
                budget=budget,
                keep=keep.part(first, last) if keep else None,
            )
            for first, last in halves
        ]
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation was refused."""
    known = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(k in str(error).lower() for k in known)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that a GPU answers no more, and so nothing that was in its memory is there.

    CUDA reports every failure but a full memory as one of these, and refuses all that is asked of it in the process
    from then on (NVIDIA, *CUDA Runtime API*, "Error handling": sticky errors).
    """
    said = isinstance(error, RuntimeError) and str(error).startswith(LOST)
    return said and not is_out_of_memory(error) and "captur" not in str(error)  # what cannot be recorded is no loss


def is_of_device(error: BaseException) -> bool:
    """Whether an error is about a GPU as such, that is full or lost, and not about what it was asked."""
    return isinstance(error, torch.OutOfMemoryError) or is_lost(error)
