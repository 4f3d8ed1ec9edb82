"""Training: one contract, several engines.

An engine takes experiments of one structure and returns `Trained`. `autograd` is the reference and runs anything
anywhere; `fused` is the fast one on a CPU. `train` is the Python API's door to them: it picks the engine, and halves
the batch where memory runs out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial

import torch

from toymodels.checks import Whole, expect
from toymodels.engines import autograd, fused
from toymodels.engines.engine import Advance, OnProgress, OnStep, Unsupported
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory, bytes_needed, train_within
from toymodels.training.trained import Trained

__all__ = [
    "ENGINES",
    "Advance",
    "Keep",
    "OutOfMemory",
    "Trained",
    "Unsupported",
    "bytes_needed_by",
    "train",
    "train_each",
    "why_not_fused",
]

MAX_BYTES = 2**63 - 1
ENGINES = {"autograd": autograd.train, "fused": fused.train}


def why_not_fused(
    experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
) -> str | None:
    """Why the fused engine cannot train these experiments of one structure, in a sentence; None if it can."""
    if device != "cpu" or dtype != torch.float32:
        return f"the fused engine computes in float32 on a cpu, not in {str(dtype).removeprefix('torch.')} on {device}"
    return fused.unsupported(experiments[0])


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

    ``engine`` is "fused", "autograd", or "auto": fused where it can, autograd elsewhere. ``memory_bytes`` bounds a
    batch on a CPU; on every device a refused allocation halves it. ``on_step`` is called now and then with an
    `Advance`: how many steps were taken since, and all models' newest losses. ``keep`` keeps a long run now and then,
    so that the same call goes on after an interruption. Raises ``ValueError`` for experiments of several structures and
    for what the engine named cannot train, `OutOfMemory` when a single model does not fit.
    """
    check_one_structure(experiments)
    device = str(device) if isinstance(device, torch.device) else device
    _check(device, dtype, memory_bytes, on_step, keep)
    if engine not in ("auto", *ENGINES):
        raise ValueError(f"engine: expected auto, {' or '.join(ENGINES)}, got '{engine}'")
    reason = why_not_fused(experiments, device, dtype)
    if engine == "fused" and reason:
        raise Unsupported(reason)
    chosen = engine if engine != "auto" else "autograd" if reason else "fused"
    newest = torch.full((len(experiments),), torch.nan, dtype=dtype)
    trained = 0

    def run(some: Sequence[Experiment], keep: Keep | None) -> Trained:
        """Train some of the models, those after the ones that are trained."""
        nonlocal trained

        def told(advance: Advance) -> None:
            newest[trained : trained + len(some)] = advance.losses
            if on_step:
                on_step(Advance(advance, newest.clone()))

        found = ENGINES[chosen](some, device=device, dtype=dtype, on_step=told if on_step else None, keep=keep)
        trained += len(some)
        return found

    return train_within(run, experiments, memory_bytes, bytes_needed_by(chosen, dtype), keep)


def _check(device: object, dtype: object, memory_bytes: object, on_step: object, keep: object) -> None:
    """Raise ``TypeError`` or ``ValueError`` for arguments of `train` that are not what they should be."""
    if not isinstance(device, str):
        raise TypeError(f"device: expected a word such as 'cpu' or 'cuda', got {device!r:.60}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected torch.float32 or torch.float64, got {dtype!r:.60}")
    if memory_bytes is not None:
        Whole(1, MAX_BYTES)("memory_bytes", memory_bytes)
    if on_step is not None and not callable(on_step):
        raise TypeError(f"on_step: expected a function, got {on_step!r:.60}")
    if keep is not None:
        expect(Keep, "training.Keep()", keep=keep)


def bytes_needed_by(engine: str, dtype: torch.dtype = torch.float32) -> Callable[[Sequence[Experiment]], int]:
    """How much memory an engine takes for experiments, in bytes."""
    return fused.bytes_needed if engine == "fused" else partial(bytes_needed, itemsize=dtype.itemsize)


@undisturbed
def train_each(
    batches: Iterable[Sequence[Experiment]],
    engine: str,
    device: str,
    on_progress: OnProgress | None = None,
    memory_bytes: Callable[[], int | None] = lambda: None,
    keep: Callable[[int], Keep | None] = lambda _: None,
) -> Generator[Trained | OutOfMemory]:
    """Train batch after batch, each of one structure, on the engine named; a batch that does not fit is the reason.

    Batches are asked for as they are needed: the fused engine begins the next one while the last models of this one are
    trained. ``memory_bytes`` is what one batch may take. ``keep`` gives what keeps a batch while it is trained: it is
    called right after the batch was asked for, with its number, counted from 0. Where the generator is closed, what is
    unfinished is saved.
    """
    report = on_progress or (lambda _: None)

    def run(experiments: Sequence[Experiment], keep: Keep | None) -> Trained:
        a_step = len(experiments) / experiments[0].training.steps
        return ENGINES[engine](experiments, device=device, on_step=lambda advance: report(a_step * advance), keep=keep)

    def in_halves(experiments: Sequence[Experiment], keep: Keep | None) -> Trained | OutOfMemory:
        try:
            return train_within(run, experiments, memory_bytes(), bytes_needed_by(engine), keep)
        except OutOfMemory as error:
            return error

    if engine != "fused":
        for number, experiments in enumerate(batches):
            yield in_halves(experiments, keep(number))
        return
    asked: deque[tuple[Sequence[Experiment], Keep | None]] = deque()

    def asking() -> Iterator[Sequence[Experiment]]:
        for number, experiments in enumerate(batches):
            asked.append((experiments, keep(number)))
            yield experiments

    with closing(fused.train_each(asking(), on_progress, memory_bytes(), lambda _: asked[-1][1])) as each:
        for trained in each:
            experiments, kept = asked.popleft()
            fits = not isinstance(trained, OutOfMemory) or len(experiments) == 1
            yield trained if fits else in_halves(experiments, kept)
