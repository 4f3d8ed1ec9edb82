"""Occupancy: held against NVIDIA's own calculator, `cuda_occupancy.h`, which comes with Triton."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from toymodels.engines.gpu.occupancy import CAPABILITIES, KIB, RESERVED, Multiprocessor, Occupancy

H100 = Multiprocessor.of_capability(90)
FACTORS = {1: "warps", 2: "registers", 4: "shared memory", 8: "programs"}
"""`cudaOccLimitingFactor`"""
CALCULATOR = """
#include <stdio.h>
#include "cuda_occupancy.h"

int main(void) {
    int capability, max_warps, max_shared, warps, registers, shared;
    while (scanf("%d %d %d %d %d %d", &capability, &max_warps, &max_shared, &warps, &registers, &shared) == 6) {
        cudaOccDeviceProp device = {capability / 10, capability % 10, 1024, 32 * max_warps, 65536, 65536, 32, 49152,
                                    max_shared, 132, max_shared - 1024, 1024};
        cudaOccFuncAttributes kernel = {1024, registers, 0, PARTITIONED_GC_OFF, FUNC_SHMEM_LIMIT_OPTIN,
                                        max_shared - 1024, 0, 0};
        cudaOccDeviceState state = {CACHE_PREFER_NONE, SHAREDMEM_CARVEOUT_DEFAULT};
        cudaOccResult found;
        if (cudaOccMaxActiveBlocksPerMultiprocessor(&found, &device, &kernel, &state, 32 * warps, shared)) return 1;
        printf("%d %u\\n", found.activeBlocksPerMultiprocessor, found.limitingFactors);
    }
    return 0;
}
"""


def test_it_is_what_nvidias_calculator_says(tmp_path: Path) -> None:
    """For every capability that is listed, over registers, warps and shared memory of kernels of any kind."""
    triton = pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    include = Path(triton.__file__).parent / "backends" / "nvidia" / "include"
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        pytest.skip("a C compiler is needed to run NVIDIA's calculator; the values below are its")
    (tmp_path / "calculator.c").write_text(CALCULATOR)
    program = tmp_path / "calculator"
    subprocess.run([compiler, "-w", "-I", include, "-o", program, tmp_path / "calculator.c"], check=True)
    registers = (16, 31, 32, 33, 40, 64, 72, 80, 96, 98, 104, 116, 128, 129, 168, 169, 200, 255)
    shared = (0, 512, 4096, 12304, 31 * KIB, 50_000, 64 * KIB, 99 * KIB, 130_048, 163 * KIB, 227 * KIB)
    cases = [
        (capability, warps, r, s)
        for (capability, of), warps, r, s in itertools.product(
            CAPABILITIES.items(), (1, 2, 3, 4, 6, 8, 16), registers, shared
        )
        if s <= of.shared - RESERVED
    ]
    lines = [f"{c} {CAPABILITIES[c].warps} {CAPABILITIES[c].shared} {w} {r} {s}" for c, w, r, s in cases]
    told = subprocess.run([program], input="\n".join(lines), capture_output=True, text=True, check=True).stdout
    assert len(cases) > 5000
    for (c, warps, r, s), line in zip(cases, told.splitlines(), strict=True):
        programs, factors = map(int, line.split())
        ours = Occupancy.of(CAPABILITIES[c], warps=warps, registers=r, shared=s)
        assert ours.programs == programs, (c, warps, r, s)
        assert set(ours.limit.split(" and ")) == {what for bit, what in FACTORS.items() if factors & bit}, (
            c,
            warps,
            r,
            s,
        )


@pytest.mark.parametrize(
    "warps, registers, shared, programs, share, limit",
    [
        (1, 32, 0, 32, 0.5, "programs"),
        (2, 32, 0, 32, 1.0, "registers and warps and programs"),
        (8, 33, 0, 6, 0.75, "registers"),  # 1,280 of a warp: 12 warps in each fourth, where 51 in all would give 6, too
        (3, 48, 0, 13, 0.609375, "registers"),  # 1,536 of a warp: 10 in each fourth, 40 in all, where 42 would give 14
        (4, 255, 12_304, 2, 0.125, "registers"),
        (8, 255, 127 * KIB, 1, 0.125, "registers and shared memory"),
        (4, 64, 50_000, 4, 0.25, "shared memory"),
        (8, 128, 228 * KIB, 0, 0.0, "shared memory"),
    ],
)
def test_of_an_h100_by_hand(warps: int, registers: int, shared: int, programs: int, share: float, limit: str) -> None:
    assert Occupancy.of(H100, warps=warps, registers=registers, shared=shared) == Occupancy(programs, share, limit)


def test_a_gpu_tells_of_itself_what_the_table_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PyTorch names it, of an H200; and one that shares less than its capability has is believed."""
    told = SimpleNamespace(
        major=9,
        minor=0,
        warp_size=32,
        max_threads_per_multi_processor=2048,
        regs_per_multiprocessor=65536,
        shared_memory_per_multiprocessor=233_472,
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: told)
    assert Multiprocessor.of_device("cuda") == H100
    told.shared_memory_per_multiprocessor = 164 * KIB
    assert Multiprocessor.of_device("cuda") == replace(H100, shared=164 * KIB)


def test_a_capability_that_is_not_listed_is_refused_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"compute capability: expected one of 80, .*, 120, got 70"):
        Multiprocessor.of_capability(70)
