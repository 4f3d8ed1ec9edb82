"""The fused engine: draw, forward, backward and update in one compiled kernel, each model by itself, on CPU threads.

A model and its data fit in a core's cache, so a run stays there from its first step to its last; nothing of the size of
a batch is ever written to memory. Models are independent, hence bit for bit the same alone, in any batch, on any number
of threads, and whatever else trains beside them. What is computed is what `toymodels.engines.autograd` computes, on
the same data, in float32.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from importlib.metadata import version

import torch
from torch import Tensor

from toymodels.bottleneck import Parameters
from toymodels.engines.engine import Advance, Engine, OnNote, OnProgress, OnStep, Unsupported, unheard
from toymodels.engines.fused import batch, moments, preparing, rotated
from toymodels.engines.fused.codes import KNOWN
from toymodels.engines.fused.crew import Crew
from toymodels.kernels import compiled, vector
from toymodels.surroundings import undisturbed
from toymodels.training.experiment import Experiment, check_one_structure
from toymodels.training.keep import Keep
from toymodels.training.memory import OutOfMemory
from toymodels.training.trained import Trained


class FusedEngine(Engine):
    """Trains what it has kernels for, in float32 on a CPU, on as many threads as torch is set to use."""

    name = "fused"
    devices = ("cpu",)
    independent = True

    def refuses(
        self, experiments: Sequence[Experiment], device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> str | None:
        """See `Engine`."""
        if device != "cpu":
            return (
                f'the fused engine trains on a cpu, not on {device}: choose device="cpu" (--device cpu), '
                "or engine gpu or autograd"
            )
        if dtype != torch.float32:
            return f"the fused engine computes in float32, not in {str(dtype).removeprefix('torch.')}"
        return KNOWN.unsupported(experiments)

    def judges_by_one(self) -> bool:
        """See `Engine`. It does where it knows every setting: of others it must see that each model has the default."""
        return KNOWN.every_setting()

    def bytes_needed(self, experiments: Sequence[Experiment], dtype: torch.dtype = torch.float32) -> int:
        """See `Engine`; a few rows a thread are not counted, and a batch of samples is never in memory."""
        return batch.bytes_needed(experiments)

    def prepare(self, on_note: OnNote = unheard) -> None:
        """Compile the kernels, or load them: 25 seconds once a machine and version, unless they cannot be kept."""
        if preparing.prepared():
            return
        if not compiled.compiled():
            on_note("compiling the fused engine for this processor, once: about 25 seconds")
        preparing.prepare()
        if unkept := compiled.why_not_kept():
            on_note(unkept)

    @undisturbed
    def train(
        self,
        experiments: Sequence[Experiment],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        on_step: OnStep | None = None,
        keep: Keep | None = None,
    ) -> Trained:
        """See `Engine`."""
        check_one_structure(experiments)
        if reason := self.refuses(experiments, device, dtype):
            raise Unsupported(reason)
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
        self,
        batches: Iterable[Sequence[Experiment]],
        device: str = "cpu",
        on_progress: OnProgress = unheard,
        memory_bytes: Callable[[], int | None] = lambda: None,
        keep: Callable[[int], Keep | None] = lambda _: None,
    ) -> Generator[Trained | OutOfMemory]:
        """See `Engine`. The next batch begins before a thread is idle: while the last models of this one are trained.

        That a batch is of one structure is not checked here.
        """
        asked: deque[tuple[Sequence[Experiment], Keep | None]] = deque()

        def asking() -> Iterator[Sequence[Experiment]]:
            for number, experiments in enumerate(batches):
                asked.append((experiments, keep(number)))
                yield experiments

        crew = Crew(torch.get_num_threads(), memory_bytes())
        with closing(crew.train_each(asking(), on_progress, lambda _: asked[-1][1])) as each:
            for trained in each:
                experiments, kept = asked.popleft()
                fits = not isinstance(trained, OutOfMemory) or len(experiments) == 1
                yield trained if fits else self.in_halves(experiments, device, on_progress, memory_bytes(), kept)

    def moments(
        self, experiments: Sequence[Experiment], parameters: Parameters, edges: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """See `Engine`; in float32 within a chunk of samples."""
        return moments.sums(experiments, parameters, edges)

    def rotated_r2(
        self, experiments: Sequence[Experiment], parameters: Parameters, rotations: Tensor, first: int, samples: int
    ) -> Tensor:
        """See `Engine`; in float32 within a chunk of samples, and the same bits on any number of threads."""
        return rotated.r2(experiments, parameters, rotations, first, samples)

    def fingerprint(self) -> Mapping[str, str]:
        """The kernels with the versions of what compiles them, the processor, and what makes the starting weights."""
        return {
            "engine": self.name,
            "kernels": compiled.digest(),
            "processor": vector.processor(),
            "numpy": version("numpy"),
            "scipy": version("scipy"),
        }
