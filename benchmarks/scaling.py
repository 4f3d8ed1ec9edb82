"""How the fused engine's time and memory grow: with models, features, neurons, batch, density and steps.

    python -m benchmarks.scaling [--out benchmarks/results]

Around 64 models 64 -> 16 at batch 1024 and density .05, one thing is varied at a time. Writes a page and a picture.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
from pathlib import Path
from typing import Any

from benchmarks.timing import RESULTS, Ours, machine, peak_mib, per_step, steps_for, told, write
from benchmarks.workload import Workload

BASE = Workload("base", 64, 64, 16, 1024, "solu")
DENSITY = 0.05
REPEATS = 3
SECONDS = 0.4
VARIED: dict[str, tuple[float, ...]] = {
    "n": (4, 16, 64, 256, 1024),
    "m": (1, 2, 4, 8, 16, 32, 64, 256),
    "batch": (64, 256, 1024, 4096),
    "density": (0.001, 0.01, 0.05, 0.3, 1.0),
}
MODELS = (1, 10, 100, 1000, 10_000, 100_000)


def microseconds(workload: Workload, density: float) -> float:
    """A step of one model, the median of interleaved repeats."""
    side = Ours("fused", workload, density)
    steps = steps_for(side, SECONDS)
    return 1e6 * statistics.median(told([per_step(side, steps) for _ in range(REPEATS)])) / workload.models


def varied(name: str, value: float) -> tuple[Workload, float]:
    """The base with one thing changed."""
    if name == "density":
        return BASE, value
    return dataclasses.replace(BASE, **{name: int(value)}), DENSITY


def memory(models: int, batch: int, steps: int) -> float:
    """Peak MiB of training so many 20 -> 5 models, in a process of its own, the experiments themselves not counted."""
    return peak_mib(
        f"""
from benchmarks.workload import Workload
from toymodels.engines import ENGINES
fused = ENGINES["fused"]
def experiments(models):
    return Workload("memory", models, 20, 5, {batch}).experiments(0.05, {steps})
fused.train(experiments(1))
many = experiments({models})
def work():
    fused.train(many)
"""
    )


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    lines = [
        f"# How the fused engine grows, {record['machine']['device']}",
        "",
        ", ".join(f"{name} {value}" for name, value in record["machine"].items() if name != "device"),
        "",
        f"Around {BASE}, density {DENSITY}: µs a model-step, median of {REPEATS}.",
        "",
    ]
    for name, times in record["times"].items():
        lines += [
            f"| {name} | {' | '.join(times)} |",
            "|" + "---|" * (len(times) + 1),
            f"| µs | {' | '.join(f'{time:.3g}' for time in times.values())} |",
            "",
        ]
    lines += [
        "Models 2 -> 1 at batch 64, µs a model-step:",
        "",
        f"| models | {' | '.join(f'{int(k):,}' for k in record['models'])} |",
        "|" + "---|" * (len(record["models"]) + 1),
        f"| µs | {' | '.join(f'{time:.3g}' for time in record['models'].values())} |",
        "",
        "Peak memory of training 20 -> 5 models, MiB above that of one:",
        "",
        "| models | batch | steps | MiB |",
        "|---|---|---|---|",
        *(f"| {r['models']:,} | {r['batch']:,} | {r['steps']:,} | {r['mib']:,.0f} |" for r in record["memory"]),
    ]
    return "\n".join(lines) + "\n"


def picture(record: dict[str, Any], path: Path) -> None:
    """Time against everything that was varied."""
    import matplotlib.pyplot as plt

    panels = {**record["times"], "models (2 -> 1, batch 64)": record["models"]}
    figure, axes = plt.subplots(1, len(panels), figsize=(3 * len(panels), 3), layout="constrained")
    for axis, (name, times) in zip(axes, panels.items(), strict=True):
        axis.plot([float(value) for value in times], list(times.values()), "o-")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(name)
    axes[0].set_ylabel("µs a model-step")
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Run, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    record: dict[str, Any] = {"machine": machine(), "base": str(BASE), "times": {}, "models": {}, "memory": []}
    for name, values in VARIED.items():
        record["times"][name] = {f"{value:g}": microseconds(*varied(name, value)) for value in values}
    for models in MODELS:
        record["models"][str(models)] = microseconds(Workload("small", models, 2, 1, 64), DENSITY)
    for models, batch, steps in ((100, 64, 10), (100, 4096, 10), (100, 64, 1000), (1000, 64, 10), (10_000, 64, 10)):
        record["memory"].append({"models": models, "batch": batch, "steps": steps, "mib": memory(models, batch, steps)})
    out.mkdir(parents=True, exist_ok=True)
    picture(record, out / "scaling-cpu.svg")
    write(out, "scaling-cpu", markdown(record), record)


if __name__ == "__main__":
    main()
