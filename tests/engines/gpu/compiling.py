"""The kernels compiled for a GPU that need not be there: `python -m tests.engines.gpu.compiling CAPABILITY CASE ...`.

One line of JSON a kernel: its case, how much shared memory it takes, and what the assembler says of registers and
spills. Triton must not have been told to interpret; a file of its own, as that is settled when it is imported.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from toymodels import (
    ELU,
    SGD,
    AbsoluteValue,
    And,
    Binary,
    Bottleneck,
    Correlated,
    CrossEntropy,
    Embedding,
    Experiment,
    Exponential,
    Features,
    FoldedNormal,
    GeLU,
    LayerNorm,
    Linear,
    One,
    ReLU,
    RotatedAdam,
    SiLU,
    SoLU,
    Training,
    XExp,
)
from toymodels.engines.gpu.run import GpuRun

BITS = Features(8, 0.2, values=Binary())
EXCLUSIVE = Features(8, 1 / 8, values=Binary(), firing=One())
SIGNED = Features(12, 0.1, values=Exponential(), signed=True)
GROUPS = Features(40, 0.1, values=FoldedNormal(), firing=Correlated(4))
UNTIED = Bottleneck(3, XExp(), None, Linear(), tied=False)
DECODER = Bottleneck(64, SoLU(), LayerNorm(), Linear(), tied=False, embedding=Embedding(16))
ROTATED = Training(steps=9, optimizer=RotatedAdam(), snapshots=2)
CASES: dict[str, dict[str, Any]] = {
    "2->1": {"features": Features(2, 0.2), "bottleneck": Bottleneck(1), "training": Training(steps=9, batch=64)},
    "5->2": {"features": Features(5, 0.2), "bottleneck": Bottleneck(2, GeLU(), LayerNorm())},
    "rotated": {
        "features": Features(5, 0.1),
        "bottleneck": Bottleneck(3, ELU(), hidden_bias=True),
        "training": ROTATED,
    },
    "pairs": {"features": BITS, "bottleneck": UNTIED, "target": And(5), "loss": CrossEntropy()},
    "softmax": {"features": EXCLUSIVE, "bottleneck": UNTIED, "loss": CrossEntropy()},
    "absolute": {"features": SIGNED, "bottleneck": Bottleneck(3, ReLU(), tied=False), "target": AbsoluteValue()},
    "20->5": {"features": Features(20, 0.1), "bottleneck": Bottleneck(5)},
    "64->16": {"features": Features(64, 0.1), "bottleneck": Bottleneck(16, SoLU(), LayerNorm())},
    "20, rotated": {
        "features": Features(40, 0.1),
        "bottleneck": Bottleneck(20, GeLU(), tied=False),
        "training": ROTATED,
    },
    "trained embedding": {
        "features": GROUPS,
        "bottleneck": Bottleneck(
            20, SiLU(), LayerNorm(affine=False), Linear(), tied=False, embedding=Embedding(9, True)
        ),
        "training": Training(steps=9, optimizer=SGD()),
    },
    "decoder": {"features": Features(64, 0.1), "bottleneck": DECODER, "training": Training(steps=9, batch=256)},
    "100->20": {"features": Features(100, 0.1), "bottleneck": Bottleneck(20)},
    "200->20": {"features": Features(200, 0.1), "bottleneck": Bottleneck(20)},
    "100->40": {"features": Features(100, 0.1), "bottleneck": Bottleneck(40, ReLU(), tied=False)},
    "128->64": {"features": Features(128, 0.1), "bottleneck": Bottleneck(64, SoLU(), LayerNorm(), tied=False)},
}
"""every kernel path once; from "20->5" on by matrix units, the last two nearly as large as they may be"""
TYPES = {torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32", torch.int64: "*i64"}


def compiled(run: GpuRun, kernel: Any, arguments: tuple[Any, ...], capability: int) -> dict[str, Any]:
    """What comes of a launch that is only compiled."""
    form = run.batch.form
    kinds = [TYPES[each.dtype] if isinstance(each, torch.Tensor) else "i32" for each in arguments]
    signature = dict(zip(kernel.arg_names, [*kinds, "constexpr"], strict=True))
    source = ASTSource(fn=kernel, signature=signature, constexprs={"form": form})
    options = {"num_warps": form.warps, "num_stages": 1, "enable_fp_fusion": True}
    binary = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(binary.asm["ptx"], encoding="utf-8")
        command = [
            get_ptxas(capability).path,
            "-v",
            f"-arch=sm_{capability}{'a' if capability >= 90 else ''}",
            str(path),
            "-o",
            str(path) + ".bin",
        ]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {
        "kernel": kernel.__name__,
        "held": form.held,
        "tile": form.tile,
        "warps": form.warps,
        "shared": binary.metadata.shared,
        "registers": max(map(int, re.findall(r"Used (\d+) registers", said))),
        "spilled": max(map(int, re.findall(r"(\d+) bytes spill stores", said))),
    }


def main(capability: int, cases: list[str]) -> None:
    """Compile the cases and say what came of each."""
    for case in cases or CASES:
        run = GpuRun([Experiment(**{"training": Training(steps=9), **CASES[case]})], "cpu")
        found: list[dict[str, Any]] = []
        run._launch = lambda kernel, *arguments, run=run, found=found: found.append(  # pyright: ignore
            compiled(run, kernel, arguments, capability)
        )
        run.advance(3)
        run.judge_last_step()
        for each in found:
            print(json.dumps({"case": case, **each}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
