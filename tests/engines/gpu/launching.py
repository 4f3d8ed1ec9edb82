"""Launches by Triton's own machinery on a GPU that is not there: `python -m tests.engines.gpu.launching`.

Everything is as on a GPU, arguments told apart, kernels compiled for an H100 and kept, but for the driver, which notes
what it is given and runs nothing. One line of JSON a launch: kernel, programs, and how often it was compiled by then.
Triton must not have been told to interpret; a file of its own, as that is settled when it is imported.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from triton.runtime import driver

from toymodels import Bottleneck, Experiment, Features, Sampler, Training
from toymodels.engines.gpu.kernels import split, steps
from toymodels.engines.gpu.resources import NoDriver
from toymodels.engines.gpu.run import GpuRun
from toymodels.engines.gpu.split import SplitRun
from toymodels.kernels.on_gpu import fill
from toymodels.random import Domain

H100 = 90
KERNELS: dict[str, Any] = {
    kernel.__name__: kernel for kernel in (steps.train, steps.judge, split.part, split.step, fill.fill_x)
}


class Utilities:
    """What Triton asks of a driver's library."""

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 227 * 1024}

    def load_binary(self, *of: object) -> tuple[int, ...]:
        module, function, registers, spilled, threads = 1, 2, 255, 0, 1024
        return module, function, registers, spilled, threads


class Launcher:
    """Notes a launch."""

    def __init__(self, source: object, metadata: Any) -> None:
        self.name = metadata["name"] if isinstance(metadata, dict) else metadata.name

    def __call__(self, x: int, y: int, z: int, *arguments: object, **options: object) -> None:
        compiled = sum(len(caches[0]) for caches in KERNELS[self.name].device_caches.values())
        print(json.dumps({"kernel": self.name, "programs": x * y * z, "compiled": compiled}), flush=True)


class Noting(NoDriver):
    """A driver of a GPU that is not there, which loads kernels and notes their launches."""

    utils, launcher_cls = Utilities(), Launcher

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def main() -> None:
    """Launch every kernel as runs of both engines and a sampler do, more than once."""
    driver.set_active(Noting(H100))  # pyright: ignore[reportArgumentType]
    for models in (1, 3):
        experiments = [
            Experiment(Features(2, 0.3), Bottleneck(1), Training(steps=9, batch=130), seed=s) for s in range(models)
        ]
        for kind in (GpuRun, SplitRun):
            run = kind(experiments, "cpu")
            for until in (1, 3, 9):
                run.advance(until)
            run.judge_last_step()
    drawing = Sampler([Features(40, 0.1)] * 2, [1, 2])._elsewhere
    for step, first in ((0, 0), (1, 16), (5, 1000)):
        drawing.by_kernel(step, 300, first, Domain.DATA, Domain.FIRING)


if __name__ == "__main__":
    main()
