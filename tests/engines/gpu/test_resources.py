"""Resources: told of what is compiled alone, and what the driver says of it; `test_compiled` asks the assembler."""

from __future__ import annotations

import ctypes
from dataclasses import asdict
from typing import Any

import pytest

from toymodels import Bottleneck, Experiment, Features, Training
from toymodels.engines import ENGINES, Unsupported
from toymodels.engines.gpu import resources
from toymodels.engines.gpu.run import GpuRun, options

TINY = Experiment(Features(2, 0.2), Bottleneck(1), Training(steps=9, batch=64))
LARGER = Experiment(Features(20, 0.1), Bottleneck(5), Training(steps=9))


def test_what_is_interpreted_or_refused_takes_nothing() -> None:
    with pytest.raises(Unsupported, match="interpreted kernels are not compiled, and take no registers"):
        ENGINES["gpu"].resources([TINY], "cpu")
    with pytest.raises(Unsupported, match="interpreted on cpu, not run on cuda"):
        ENGINES["gpu"].resources([TINY], "cuda")
    assert ENGINES["fused"].resources([TINY], "cpu") == ENGINES["autograd"].resources([TINY], "cpu") == {}


class Launched(GpuRun):
    """A run that keeps the kernels that it launched."""

    def _launch(self, kernel: Any, *arguments: Any, parts: int = 1) -> None:
        self.launched = kernel[(len(self.batch) * parts,)](*arguments, **options(self.batch.form))


@pytest.mark.cuda
@pytest.mark.parametrize("experiment", [TINY, LARGER], ids=["2->1", "20->5"])
def test_the_kernel_is_the_one_that_is_launched_and_the_driver_says_the_same(experiment: Experiment) -> None:
    """Registers, local memory and how many programs share a multiprocessor, as the driver tells them."""
    run = Launched([experiment], "cuda")
    run.advance(1)
    assert run.launched.hash == resources.compiled(GpuRun([experiment], "cuda"))["train"].hash
    ours = resources.of_run(GpuRun([experiment], "cuda"))["train"]
    assert (ours.registers, ours.spilled) == (run.launched.n_regs, 4 * run.launched.n_spills)
    programs = ctypes.c_int()
    failed = ctypes.CDLL("libcuda.so.1").cuOccupancyMaxActiveBlocksPerMultiprocessor(
        ctypes.byref(programs), ctypes.c_void_p(run.launched.function), 32 * ours.warps, ctypes.c_size_t(ours.shared)
    )
    assert (failed, programs.value) == (0, ours.occupancy.programs)
    assert ENGINES["gpu"].resources([experiment], "cuda")["train"] == asdict(ours)
    assert ENGINES["gpu_split"].resources([experiment], "cuda").keys() == {"part", "step", "judge"}
