"""What ``--dry-run`` says a sweep will take, held against what it takes.

    python -m benchmarks.estimates [--out benchmarks/results]

Every row is a dry run and then the sweep itself, each a command of its own, on both engines; *factor* is how many times
longer than the best guess the sweep took, its libraries' start not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.timing import RESULTS, machine, write
from benchmarks.verdict import table

SWEEPS = {
    "fused": ["first_look", "--engine", "fused"],
    "fused, 60 groups": [
        *(
            "tms_intro",
            "--engine",
            "fused",
            "--grid",
            "model.hidden={range=[2,32]}",
            "--grid",
            "model.activation=relu,solu",
        ),
        *("--set", "features.density=0.1", "--grid", "seed=0,1,2,3", "--set", "train.steps=5000"),
    ],
    "autograd": ["first_look", "--engine", "autograd", "--set", "train.steps=300", "--grid", "seed=0,1"],
}
START = ["list"]
"""a command that imports what a sweep does, and trains nothing"""


def seconds(*command: str) -> tuple[float, str]:
    """What a command takes, and what it says."""
    begin = time.perf_counter()
    run = [sys.executable, "-m", "toymodels", *command]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    return time.perf_counter() - begin, said


def compared(what: str, sweep: list[str]) -> dict[str, Any]:
    """A dry run and a sweep."""
    start, _ = seconds(*START)
    took, said = seconds("sweep", *sweep, "--dry-run", "--json")
    told = json.loads(said)
    with tempfile.TemporaryDirectory() as folder:
        real = seconds("sweep", *sweep, "--out", f"{folder}/run")[0] - start
    return {
        "sweep": what,
        "groups": told["groups"],
        "timed": told["groups_measured"],
        "dry run s": took,
        "low s": told["seconds_low"],
        "said s": told["seconds"],
        "high s": told["seconds_high"],
        "took s": real,
        "factor": real / told["seconds"],
    }


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    rows = [compared(what, sweep) for what, sweep in SWEEPS.items()]
    write(out, "estimates-cpu", table(rows), {"machine": machine(), "estimates": rows})


if __name__ == "__main__":
    main()
