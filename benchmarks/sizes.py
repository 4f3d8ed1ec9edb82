"""What planning and storing cost as a sweep grows: seconds, the largest resident memory, bytes and files.

    python -m benchmarks.sizes [--planned 10000 100000 1000000] [--stored 1000 10000 100000] [--out benchmarks/results]

Planned: `toymodels.sweeps.plan.plan.make_plan` of one axis of seeds, and of three axes. Stored: the command ``sweep``
on models so small (4 features, 2 neurons, 10 steps of 8 examples) that the store is what is measured; the same command
again on the finished folder; and ``tables``, which measures everything anew. Every row is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import RESULTS, machine, write
from benchmarks.verdict import measured, table

TINY = """
question = "How large?"
[features]
n = 4
density = 0.25
[model]
hidden = 2
[train]
steps = 10
batch = 8
curve_points = 10
[eval]
samples = 64
[grid]
seed = {{ range = [0, {seeds}] }}
{axes}
"""
SUFFIXES = (".safetensors", ".parquet")
AXES = '"model.activation" = ["relu", "gelu", "solu", "linear"]\n"features.density" = { log = [0.05, 0.5, 10] }\n'
PLAN = """
import json, resource, sys, time
from pathlib import Path
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import read
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
sweep, before, begin = read(Path(sys.argv[1])), peak(), time.perf_counter()
plan = make_plan(sweep)
print(json.dumps({"s": time.perf_counter() - begin, "before": before, "peak": peak(), "packs": len(plan.packs)}))
"""


def sweep_file(folder: str, models: int, crossed: bool) -> Path:
    """A sweep of so many models: seeds alone, or crossed with forty other settings."""
    path = Path(folder) / "size.toml"
    path.write_text(TINY.format(seeds=models // 40 if crossed else models, axes=AXES if crossed else ""))
    return path


def planned(models: int, crossed: bool) -> dict[str, Any]:
    """What a plan takes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PLAN, str(sweep_file(folder, models, crossed))]
        said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "what": f"plan, {3 if crossed else 1} axes",
        "models": models,
        "packs": said["packs"],
        "s": said["s"],
        "us a model": 1e6 * said["s"] / models,
        "peak GiB": said["peak"],
        "bytes a model": (said["peak"] - said["before"]) * 2**30 / models,
    }


def stored(models: int) -> list[dict[str, Any]]:
    """What a run of so many models takes, the same command again, and its tables anew."""
    with tempfile.TemporaryDirectory() as folder:
        run, sweep = f"{folder}/run", str(sweep_file(folder, models, crossed=True))
        commands = {"sweep": ["sweep", sweep, "--out", run], "again": ["sweep", sweep, "--out", run]}
        rows = []
        for what, command in (commands | {"tables": ["tables", run]}).items():
            seconds, peak = measured(*command)
            files = [path for path in Path(run).rglob("*") if path.is_file()]
            size = {kind: sum(f.stat().st_size for f in files if f.suffix == kind) for kind in SUFFIXES}
            row = {"what": what, "models": models, "s": seconds, "us a model": 1e6 * seconds / models}
            row |= {"peak GiB": peak, "files": len(files)}
            rows.append(row | {f"{kind} bytes a model": size[kind] / models for kind in SUFFIXES})
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--planned", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stored", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    plans = [planned(models, crossed) for crossed in (False, True) for models in arguments.planned]
    stores = [row for models in arguments.stored for row in stored(models)]
    text = "\n".join(table(rows) for rows in (plans, stores) if rows)
    write(arguments.out, "sizes-cpu", text, {"machine": machine(), "planned": plans, "stored": stores})


if __name__ == "__main__":
    main()
