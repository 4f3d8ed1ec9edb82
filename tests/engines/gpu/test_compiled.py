"""The kernels compiled for GPUs that are not here: what the interpreter takes the compiler must take, too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toymodels.kernels.on_gpu.availability import SWITCH

KERNELS = ["train", "judge", "part", "step"]
A100, H100 = 80, 90
MANY = ["5->2", "rotated", "pairs", "softmax", "absolute", "20->5", "64->16", "20, rotated", "trained embedding"]
FOR_ELSE = 64
"""bytes of memory that a thread may have without a spill"""
LARGE = ["decoder", "100->20", "200->20", "100->40", "128->64"]


def check(folder: Path, capability: int, case: str) -> list[dict[str, Any]]:
    """What `tests.engines.gpu.compiling` says, in a process that compiles and does not interpret.

    Each kernel fits, and takes the registers and the memory that the assembler says that it gave.
    """
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    environment |= {"TRITON_CACHE_DIR": str(folder), "TRITON_DEFAULT_FP_FUSION": "1", "TRITON_DUMP_PTXAS_LOG": "1"}
    command = [sys.executable, "-m", "tests.engines.gpu.compiling", str(capability), case]
    root = Path(__file__).parents[3]
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr[-3000:]
    found = [json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")]
    assert [(each["case"], each["kernel"]) for each in found] == [(case, each) for each in KERNELS]
    assert all(each["occupancy"]["programs"] >= 1 for each in found)
    given = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores[^U]*Used (\d+) registers", said.stdout)
    frames, spilled, registers = zip(*(map(int, each) for each in given), strict=True)
    assert [each["registers"] for each in found] == [*registers]
    assert [each["spilled"] for each in found] == [*frames]
    # What is spilled is in a thread's memory; a few bytes there can be for something else.
    assert all(frame > 0 for frame, stored in zip(frames, spilled, strict=True) if stored)
    assert all(frame <= FOR_ELSE for frame, stored in zip(frames, spilled, strict=True) if not stored)
    return found


def test_the_smallest_models_kernels_compile_and_spill_nothing(tmp_path: Path) -> None:
    assert all(each["spilled"] == 0 for each in check(tmp_path, H100, "2->1"))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [A100, H100])
@pytest.mark.parametrize("case", [*MANY, *LARGE])
def test_every_path_of_the_kernels_compiles_and_fits(case: str, capability: int, tmp_path: Path) -> None:
    check(tmp_path, capability, case)
