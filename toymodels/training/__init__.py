"""Training: one contract, several engines.

An engine takes experiments of one structure and returns `Trained`; `autograd` is the reference. `train` is the Python
API's door to it: it halves the batch where memory runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from toymodels.training import autograd
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.memory import OutOfMemory, train_within
from toymodels.training.trained import Trained

__all__ = ["OutOfMemory", "Trained", "train"]


def train(
    experiments: Sequence[Experiment],
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_bytes: int | None = None,
    on_step: autograd.OnStep | None = None,
) -> Trained:
    """Train models of one structure at once; the result is on the CPU, in the order given.

    ``memory_bytes`` bounds a batch on a CPU; on every device a refused allocation halves it. Raises ``ValueError`` for
    experiments of several structures, `OutOfMemory` when a single model does not fit.
    """
    check_one_structure(experiments)
    engine = partial(autograd.train, device=device, dtype=dtype, on_step=on_step)
    return train_within(engine, experiments, memory_bytes, dtype.itemsize)
