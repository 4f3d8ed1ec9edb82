"""What a verdict takes, in time and memory: seconds a model, and the resident memory of the largest process, of a run
and of one several times as large.

    python -m benchmarks.verdict [--seeds 16 67] [--out benchmarks/results]

The runs are the primary regime of two_tiers (64 features in 16 dimensions, 32 neurons), untuned, at three LayerNorm
eps: 15 models a seed are judged, on 50,000 samples each. Beside it stands what training those models took, in the
same run, by the fused engine. Every command is a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import RESULTS, machine, write

SETTINGS = (
    "features.values=binary",
    "features.frequency=uniform",
    "features.importance=uniform",
    "features.density=0.02",
    "model.hidden=32",
    "model.embedding=16",
    "model.hidden_bias=true",
    "train.optimizer=adam",
    "train.learning_rate=0.04",
)
JUDGED = 15
"""models a seed: SoLU, GeLU, ReLU and linear with LayerNorm at three eps, and SoLU, GeLU and ReLU without"""


def measured(*command: str) -> tuple[float, float]:
    """Seconds and GiB of one ``toymodels`` command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "toymodels", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    said = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {said.decode()}")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


def of_seeds(seeds: int) -> dict[str, Any]:
    """A run of so many seeds, and its verdict."""
    with tempfile.TemporaryDirectory() as folder:
        fixed = [part for setting in SETTINGS for part in ("--set", setting)]
        run = f"{folder}/run"
        trained, _ = measured(
            "sweep", "two_tiers", "--no-tune", "--out", run, *fixed, "--grid", f"seed={{ range = [0, {seeds}] }}"
        )
        judged, memory = measured("verdict", run)
    return {
        "seeds": seeds,
        "models judged": seeds * JUDGED,
        "verdict s": judged,
        "ms a model": 1e3 * judged / (seeds * JUDGED),
        "peak GiB": memory,
        "sweep s": trained,
        "verdict / sweep": judged / trained,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[16, 67])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = [of_seeds(seeds) for seeds in arguments.seeds]
    write(arguments.out, "verdict-cpu", table(rows), {"machine": machine(), "rows": rows})


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    head = "| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]) + "\n"
    lines = [
        "| "
        + " | ".join(
            f"{v:,.3g}" if isinstance(v, float) else v if isinstance(v, str) else f"{v:,}" for v in row.values()
        )
        + " |"
        for row in rows
    ]
    return head + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
