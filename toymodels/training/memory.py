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

FEATURE_COPIES = 10
HIDDEN_COPIES = 16
WEIGHT_COPIES = 8


class OutOfMemory(Exception):
    """Models do not fit, however few are trained at once."""


def bytes_needed(experiments: Sequence[Experiment], itemsize: int = 4) -> int:
    """Upper estimate of the memory that training these models at once on the autograd engine takes.

    Counted: about 10 arrays [model, feature, batch] and 16 [model, hidden, batch] alive at the peak of a backward pass,
    weights with gradients and two moments, curves and snapshots. The tests hold it against the measured peak.
    """
    total = 0
    for e in experiments:
        n, m, t = e.features.n, e.bottleneck.hidden, e.training
        activations = t.batch * (FEATURE_COPIES * n + HIDDEN_COPIES * m)
        weights = (2 * n * m + n + 3 * m) * (WEIGHT_COPIES + t.snapshots)
        total += itemsize * (activations + weights + t.curve_points)
    return total


def train_within(
    train: Callable[..., Trained],
    experiments: Sequence[Experiment],
    budget: int | None = None,
    needs: Callable[[Sequence[Experiment]], int] = bytes_needed,
    keep: Keep | None = None,
) -> Trained:
    """``train(experiments, keep=keep)``, in halves as often as it takes to stay within ``budget`` bytes.

    ``needs`` says how many bytes experiments take; each half is kept by its own part of ``keep``. Raises `OutOfMemory`
    when a single model does not fit.
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
            train_within(train, experiments[first:last], budget, needs, keep.part(first, last) if keep else None)
            for first, last in halves
        ]
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation was refused."""
    known = ("can't allocate memory", "not enough memory", "out of memory", "alloc_failed")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(k in str(error).lower() for k in known)
