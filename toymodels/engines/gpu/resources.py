"""Resources: what the compiler made of the kernels of a structure, read from the binary that a launch would run.

Registers a thread; bytes that a thread *spills*, which are numbers that found no register and wait in memory, mostly in
the first cache, as kernels have no arrays of their own; shared memory a program; and what follows of them,
`toymodels.engines.gpu.occupancy`.

A kernel is compiled as a launch compiles it, from the same arguments, so where there is a GPU it is that very kernel.
There need be none: after `compile_for` a process compiles for any.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toymodels.engines.gpu.occupancy import Multiprocessor, Occupancy
from toymodels.engines.gpu.run import GpuRun, options
from toymodels.engines.gpu.split import SplitRun


@dataclass(frozen=True)
class Resources:
    """What one kernel takes."""

    tile: int
    """samples that it goes through at once"""
    warps: int
    """of 32 threads, a program"""
    registers: int
    """a thread, of 32 bits: 255 at most"""
    spilled: int
    """bytes a thread in local memory, nearly all of them for spills"""
    shared: int
    """bytes of shared memory a program"""
    occupancy: Occupancy


def compiled(run: GpuRun) -> dict[str, Any]:
    """What Triton makes of each kernel that a run launches, by its name. None is launched: of the run nothing comes."""
    kernels: dict[str, Any] = {}

    def keep(kernel: Any, *arguments: Any, parts: int = 1) -> None:
        with run.where():
            kernels[kernel.__name__] = kernel.warmup(*arguments, grid=(parts,), **options(run.batch.form))

    run._launch = keep
    if isinstance(run, SplitRun):
        run.recorder = None  # a graph of no kernels is none
    run.advance(1)
    run.judge_last_step()
    return kernels


def of_run(run: GpuRun) -> dict[str, Resources]:
    """What each kernel that a run would launch takes, by its name; of the run nothing comes.

    Raises ``ValueError`` for a GPU that `Multiprocessor` does not know.
    """
    found: dict[str, Resources] = {}
    for name, kernel in compiled(run).items():
        target, shared, form = kernel.metadata.target.arch, kernel.metadata.shared, run.batch.form
        of = Multiprocessor.of_device(str(run.device)) if run.on_gpu else Multiprocessor.of_capability(target)
        registers, spilled = _usage(kernel.asm["cubin"], kernel.metadata.name)
        occupancy = Occupancy.of(of, warps=form.warps, registers=registers, shared=shared)
        found[name] = Resources(form.tile, form.warps, registers, spilled, shared, occupancy)
    return found


def compile_for(capability: int) -> None:
    """From here on this process compiles for GPUs of this compute capability (90 is 9.0), and can launch nothing."""
    from triton.runtime import driver

    driver.set_active(NoDriver(capability))  # pyright: ignore[reportArgumentType]


class NoDriver:
    """As much of a driver as compiling asks for, of a GPU of this compute capability."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def _usage(cubin: bytes, name: str) -> tuple[int, int]:
    """Registers and bytes of local memory a thread of the function ``name`` of a binary: NVIDIA's own tool reads it."""
    from triton import knobs

    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(rf"Function {re.escape(name)}:\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", told)
    assert found, told
    registers, stack, local = map(int, found.groups())
    return registers, stack + local
