"""The kernels compiled for GPUs that are not here: what the interpreter takes the compiler must take, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toymodels.kernels.on_gpu.availability import SWITCH

KERNELS = ["train", "judge"]
A100, H100 = 80, 90
SHARED_KIB = {A100: 163, H100: 227}
"""of a block at most; NVIDIA, *CUDA C++ Programming Guide*, technical specifications per compute capability"""
SMALL = ["2->1"]
MANY = ["5->2", "rotated", "pairs", "softmax", "absolute", "20->5", "64->16", "20, rotated", "trained embedding"]
LARGE = ["decoder", "100->20", "200->20", "100->40", "128->64"]


def compiled(folder: Path, capability: int, *cases: str) -> list[dict[str, Any]]:
    """What `tests.engines.gpu.compiling` says, in a process that compiles and does not interpret."""
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    environment |= {"TRITON_CACHE_DIR": str(folder), "TRITON_DEFAULT_FP_FUSION": "1"}
    command = [sys.executable, "-m", "tests.engines.gpu.compiling", str(capability), *cases]
    root = Path(__file__).parents[3]
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-3000:]
    return [json.loads(line) for line in said.stdout.splitlines()]


def check(folder: Path, capability: int, *cases: str) -> list[dict[str, Any]]:
    found = compiled(folder, capability, *cases)
    assert [(each["case"], each["kernel"]) for each in found] == [(case, each) for case in cases for each in KERNELS]
    for each in found:
        assert each["shared"] <= 1024 * SHARED_KIB[capability], each
        assert each["warps"] * 32 * each["registers"] <= 2**16, each
    return found


def test_the_smallest_models_kernels_compile_and_spill_nothing(tmp_path: Path) -> None:
    assert all(each["spilled"] == 0 for each in check(tmp_path, H100, *SMALL))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [A100, H100])
@pytest.mark.parametrize("case", [*MANY, *LARGE])
def test_every_path_of_the_kernels_compiles_and_fits(case: str, capability: int, tmp_path: Path) -> None:
    check(tmp_path, capability, case)
