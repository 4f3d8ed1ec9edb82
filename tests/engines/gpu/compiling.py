"""The kernels compiled for a GPU that need not be there: `python -m tests.engines.gpu.compiling CAPABILITY CASE ...`.

One line of JSON a kernel: its case, how many numbers its program holds, and what it takes of a multiprocessor. Triton
must not have been told to interpret; a file of its own, as that is settled when it is imported.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

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
from toymodels.engines.gpu.resources import compile_for, of_run
from toymodels.engines.gpu.run import GpuRun
from toymodels.engines.gpu.split import SplitRun

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


def main(capability: int, cases: list[str]) -> None:
    """Compile the cases and say what came of each kernel, of whole models and of a shared batch."""
    compile_for(capability)
    for case in cases or CASES:
        one = [Experiment(**{"training": Training(steps=9), **CASES[case]})]
        whole, split = GpuRun(one, "cpu"), SplitRun(one, "cpu")
        for kernel, each in (of_run(whole) | of_run(split)).items():
            told = {"case": case, "kernel": kernel, "held": whole.batch.form.held, **asdict(each)}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
