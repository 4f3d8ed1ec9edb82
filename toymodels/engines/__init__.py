"""Training: one contract, several engines.

An `Engine` takes experiments of one structure and returns `Trained`. "autograd" is the reference and runs anything
anywhere; "fused" is the fast one on a CPU, "gpu" the one for a GPU. `train` is the Python API's door to them: it picks
the engine, and halves the batch where memory runs out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from toymodels.checks import Whole, expect
from toymodels.engines.devices import absent, best_for, gpus_here, misnamed
from toymodels.engines.engine import Advance, Engine, OnStep, Unsupported
from toymodels.engines.registry import ENGINES, EngineChoice, choices, choose, kinds_of
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory, train_within
from toymodels.training.trained import Trained

__all__ = [
    "ENGINES",
    "Advance",
    "Engine",
    "EngineChoice",
    "Keep",
    "OutOfMemory",
    "Trained",
    "Unsupported",
    "choices",
    "choose",
    "train",
]

MAX_BYTES = 2**63 - 1


@undisturbed
def train(
    experiments: Sequence[Experiment],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_bytes: int | None = None,
    on_step: OnStep | None = None,
    engine: str = "auto",
    keep: Keep | None = None,
) -> Trained:
    """Train models of one structure at once; the result is on the CPU, in the order given.

    ``device`` is "cpu", "cuda", one CUDA device of several by its number, "cuda:1", or "auto": CUDA where torch can use
    it and the engine named is not for a CPU alone, else the CPU.

    ``engine`` is a name of `ENGINES`, or "auto": on a CPU "fused" and on a GPU "gpu" where these can, "autograd"
    elsewhere. Two are there to be measured and are taken only by name: "gpu_tf32", the gpu engine with the factors of
    its products rounded to 10 bits, and "gpu_split", the same with each step's batch shared out over the whole GPU.

    ``memory_bytes`` bounds a batch on a CPU; on every device a refused allocation halves it. ``on_step`` is
    called now and then with an `Advance`: how many steps were taken since, and all models' newest losses. ``keep``
    keeps a long run now and then, so that the same call goes on after an interruption. Raises ``ValueError`` for
    experiments of several structures, for a device that is not there and for what the engine named cannot train,
    `OutOfMemory` when a single model does not fit.
    """
    check_one_structure(experiments)
    device = str(device) if isinstance(device, torch.device) else device
    _check(device, dtype, memory_bytes, on_step, keep)
    device = best_for(kinds_of(engine)) if device == "auto" else device
    if reason := absent(device, gpus_here()):
        raise ValueError(f"device: {reason} (choose auto or cpu)")
    chosen = choose(engine, [experiments], device, dtype).engine
    newest = torch.full((len(experiments),), torch.nan, dtype=dtype)
    trained = 0

    def telling(on_step: OnStep, models: int) -> OnStep:
        """Tells of all models when so many, those after the ones that are trained, advance."""

        def tell(advance: Advance) -> None:
            newest[trained : trained + models] = advance.losses
            on_step(Advance(advance, newest.clone()))

        return tell

    def run(some: Sequence[Experiment], keep: Keep | None) -> Trained:
        """Train some of the models, those after the ones that are trained."""
        nonlocal trained
        found = chosen.train(some, device, dtype, telling(on_step, len(some)) if on_step else None, keep)
        trained += len(some)
        return found

    needs = partial(chosen.bytes_needed, dtype=dtype)
    return train_within(run, experiments, needs=needs, budget=memory_bytes, keep=keep)


def _check(device: object, dtype: object, memory_bytes: object, on_step: object, keep: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for arguments of `train` that are not what they should be."""
    if not isinstance(device, str):
        raise TypeError(f"device: expected a word such as 'cpu' or 'cuda', got {device!r:.60}")
    if device != "auto" and (reason := misnamed(device)):
        raise ValueError(f"device: {reason:.200}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r:.60}")
    if memory_bytes is not None:
        Whole(1, MAX_BYTES)("memory_bytes", memory_bytes)
    if on_step is not None and not callable(on_step):
        raise TypeError(f"on_step: expected a function, got {on_step!r:.60}")
    if keep is not None:
        expect(Keep, "training.Keep()", keep=keep)
