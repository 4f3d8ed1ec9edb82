"""Replay: the kernels of a step recorded once, as a CUDA graph, and launched together from then on.

A step of small models is some hundred kernels of some microseconds, and launching them one by one takes longer than
they do. A CUDA graph launches them as one (NVIDIA, *CUDA C++ Programming Guide*, "CUDA Graphs"). What is recorded
reads and writes the same memory every time; so the tensors that a step replaces are held in *buffers*, into which what
was recorded copies what it made of them.

That CUDA does what is asked of it here has not been seen on a GPU yet: `Recorder` is all that touches CUDA, and the
tests put another one in its place, which records and replays on the CPU.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from toymodels.training.memory import is_lost

WARM_UP = 3
"""steps that are not recorded: libraries allocate their workspaces in the first, which must not be recorded"""


class Recorder(Protocol):
    """Records kernels on one device."""

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Everything runs meanwhile where it can be recorded."""
        ...

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the kernels of ``work``, which do not run yet; returns what runs them. Raises ``RuntimeError`` where
        it does something that is no kernel, such as waiting for the device."""
        ...


class CudaRecorder:
    """CUDA graphs of one device, recorded and replayed on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """See `Recorder`: the default stream cannot be recorded."""
        outside = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:  # whatever was raised: its memory is given to others, and kernels may still write there
            outside.wait_stream(self.stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            work()
        return graph.replay


def recorded(recorder: Recorder, work: Callable[[], None]) -> Callable[[], None] | None:
    """What runs the kernels of ``work``; None where they cannot be recorded, which is said as a ``RuntimeWarning``."""
    try:
        return recorder.record(work)
    except RuntimeError as error:
        if is_lost(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(f"a step runs kernel by kernel, as it cannot be recorded: {reason}", RuntimeWarning, 3)
        return None


def recorder_for(device: torch.device) -> Recorder | None:
    """Who records on this device; None where nobody does."""
    return CudaRecorder(device) if device.type == "cuda" else None


class Replayed:
    """A step that is recorded after its first calls and replayed in those after; called like the step itself.

    ``moving`` gives every tensor that the step replaces, by name, and ``put`` puts others in their place. Where it
    cannot be recorded, as an activation of a user's own may wait for the device, it stays a plain call, which is said
    once as a ``RuntimeWarning``.
    """

    def __init__(
        self,
        step: Callable[[], None],
        moving: Callable[[], Mapping[str, Tensor]],
        put: Callable[[Mapping[str, Tensor]], None],
        recorder: Recorder,
    ) -> None:
        self.step, self.moving, self.put, self.recorder = step, moving, put, recorder
        self.calls = 0
        self.replay: Callable[[], None] | None = None
        """None before the step is recorded; from then on the tensors change in place"""

    def __call__(self) -> None:
        if self.calls == WARM_UP:
            self._record()
        self.calls += 1
        (self.replay or self.step)()

    def _record(self) -> None:
        before = dict(self.moving())
        buffers = {name: tensor.detach().clone() for name, tensor in before.items()}
        names = {id(buffer): name for name, buffer in buffers.items()}
        self.put(buffers)

        def work() -> None:
            self.step()
            after = self.moving()
            # What moved from one buffer to another goes first, before its own is written.
            moved = [name for name, tensor in after.items() if names.get(id(tensor), name) != name]
            new = [name for name, tensor in after.items() if id(tensor) not in names]
            with torch.no_grad():
                for some in (moved, new):
                    for name in some:
                        buffers[name].copy_(after[name])

        self.replay = recorded(self.recorder, work)
        self.put(buffers if self.replay else before)
