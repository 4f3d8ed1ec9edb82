"""Our engines against their peers, interleaved in one process; first all must learn the same, or nothing is timed.

    python -m benchmarks.engines [--device core] [--only W1,W2] [--out benchmarks/results]

Every model has its own seed. Writes one Markdown and one JSON record, and on a CPU a picture. ``core`` is one core, on
which the time is counted that a side computes, not what it waits while others do: for a machine that is not quiet.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.one_at_a_time import OneAtATime
from benchmarks.peers.recipe import Compiled, Recipe
from benchmarks.timing import (
    RESULTS,
    Ours,
    Side,
    keep_to_one_core,
    machine,
    peak_mib,
    per_step,
    ratio,
    sgemm,
    steps_for,
    told,
    write,
)
from benchmarks.workload import WORKLOADS, Workload

REPEATS = 3
SECONDS = 0.7
SMALL_DECODER = Workload("decoder", 24, 20, 20, 256, "solu", layer_norm=True, tied=False, embedding=8)
LEARNING = (
    Workload("linear", 24, 20, 5, 256),
    Workload("abs(x)", 24, 20, 12, 256, "relu", tied=False, absolute=True),
    Workload("solu+LN", 24, 20, 12, 256, "solu", layer_norm=True),
    SMALL_DECODER,
    replace(SMALL_DECODER, name="decoder, cross-entropy", cross_entropy=True),
)
LEARNING_STEPS = 600
CORE_MEANS = " One thread, processor time: what waits for the core is not counted."
MEANT = ("W1", "W2", "W3", "W4", "W5", "W6", "W8")
"""What the geometric mean is of: not W7, nor the decoders W9 and W10, of which products are most of every side."""
Make = Callable[[Workload, float], Side]


def sides(device: str) -> dict[str, Make]:
    """Ours first, then the peers."""
    from benchmarks.peers.scan import Scan

    makes: dict[str, Make] = {
        "ours, fused": lambda w, p: Ours("fused", w, p),
        "ours, autograd": lambda w, p: Ours("autograd", w, p),
        "recipe": Recipe,
        "torch.compile": Compiled,
        "JAX": Scan,
        "one at a time": OneAtATime,
    }
    if device == "core":
        del makes["torch.compile"]  # compiling each of its shapes takes a core minutes
    return makes


def same_learning(
    makes: dict[str, Make], tasks: Sequence[Workload] = LEARNING, steps: int = LEARNING_STEPS
) -> list[dict[str, Any]]:
    """Mean batch loss of every side's models at the last step, with its standard error, a row a task.

    Ends the program unless all agree with ours within 4 standard errors.
    """
    rows = []
    for workload in tasks:
        found = {}
        for name, make in makes.items():
            side = make(workload, 0.1)
            loss = side.run(steps).double()
            side.close()
            found[name] = (loss.mean().item(), (loss.std() / math.sqrt(len(loss))).item())
        ours, our_error = next(iter(found.values()))
        for name, (loss, error) in found.items():
            if abs(loss - ours) > 4 * math.hypot(error, our_error):
                raise SystemExit(f"{workload}: {name} learns something else: {loss:.5f} against {ours:.5f}")
        rows.append({"workload": workload.name, "models": workload.models, "steps": steps, "losses": found})
    return rows


def compare(workload: Workload, makes: dict[str, Make], device: str) -> list[dict[str, Any]]:
    """Times of every side at each density, interleaved."""
    rows, load, date = [], os.getloadavg()[0], datetime.date.today().isoformat()
    built = {name: make(workload, workload.densities[0]) for name, make in makes.items()}
    steps = {name: steps_for(side, SECONDS, device) for name, side in built.items()}
    for density in workload.densities:
        for name, side in built.items():
            side.density = density
            side.run(2)
            side.run(steps[name] + 2)  # a new number of steps is compiled anew by JAX, and described by ours
        peaks, times = [], {name: [] for name in built}
        for _ in range(REPEATS):
            peaks.append(sgemm(device))
            for name, side in built.items():
                times[name].append(per_step(side, steps[name], device))
        ours = next(iter(times.values()))
        seconds = {name: statistics.median(told(values)) for name, values in times.items()}
        rate = workload.models / next(iter(seconds.values()))
        rows.append(
            {
                "workload": str(workload),
                "density": density,
                "date": date,
                "load": load,
                "ms": {name: 1e3 * each for name, each in seconds.items()},
                "ratio": {name: ratio(values, ours) for name, values in times.items()},
                "models_x_steps_per_s": rate,
                "gflop_per_s": workload.flop() * rate / 1e9,
                "sgemm_gflop_per_s": statistics.median(peaks) / 1e9,
            }
        )
        print(rows[-1]["workload"], density, {k: f"{v:.3g}" for k, v in rows[-1]["ms"].items()}, flush=True)
    for side in built.values():
        side.close()
    return rows


def memory(workload: Workload) -> dict[str, float]:
    """Peak memory of training ten steps, ours and the recipe's, in processes of their own; MiB."""
    program = """
from benchmarks.workload import Workload
from benchmarks.timing import Ours
from benchmarks.peers.recipe import Recipe
make = {make}
make({small!r}).run(2)
side = make({workload!r})
def work():
    side.run(10)
"""
    small = Workload("small", 1, 2, 1, 8)
    ours = "lambda w: Ours('fused', w, 0.05)"
    theirs = "lambda w: Recipe(w, 0.05)"
    return {
        name: peak_mib(program.format(make=make, small=small, workload=workload))
        for name, make in (("ours, fused", ours), ("recipe", theirs))
    }


def name_of(row: dict[str, Any]) -> str:
    """W6 of "W6 relu: 64 x 64->16, batch 1024, relu"."""
    return re.split("[ :]", row["workload"])[0]


def geometric_mean(rows: list[dict[str, Any]], peer: str) -> float:
    """Of the median ratios over `MEANT`; the kinds of W6 count as one."""
    by_name: dict[str, list[float]] = {}
    for row in rows:
        name = name_of(row)
        if name in MEANT and peer in row["ratio"]:
            by_name.setdefault(name, []).append(math.log(row["ratio"][peer]["median"]))
    return math.exp(statistics.mean(statistics.mean(logs) for logs in by_name.values()))


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    rows, names = record["rows"], list(record["rows"][0]["ms"])
    peers = names[1:]
    lines = [
        f"# {names[0]} against its peers, {record['machine']['device']}",
        "",
        ", ".join(f"{name} {value}" for name, value in record["machine"].items() if name != "device"),
        "",
        "Tied unless said, ReLU output (decoders: linear, of binary x), Adam 1e-3. "
        f"{REPEATS} interleaved repeats; ratio = peer / {names[0]}, median (min to max). "
        "GFLOP/s: dense products, five a step and a decoder's sixth, whatever is skipped; sgemm: torch's own in the "
        f"same run.{CORE_MEANS if record['device'] == 'core' else ''}",
        "",
        f"| workload | density | {names[0]}, ms a step | models x steps / s | GFLOP/s | of sgemm | "
        + " | ".join(f"x {peer}" for peer in peers)
        + " |",
        "|" + "---|" * (6 + len(peers)),
    ]
    for row in rows:
        ratios = [row["ratio"][peer] for peer in peers]
        cells = [
            row["workload"],
            f"{row['density']:g}",
            f"{row['ms'][names[0]]:.3g}",
            f"{row['models_x_steps_per_s']:,.0f}",
            f"{row['gflop_per_s']:,.0f}",
            f"{row['gflop_per_s'] / row['sgemm_gflop_per_s']:.0%}" if row["sgemm_gflop_per_s"] > 0 else "",
            *(f"{r['median']:.1f} ({r['min']:.1f} to {r['max']:.1f})" for r in ratios),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if set(map(name_of, rows)) >= set(MEANT):
        means = ", ".join(f"{record['geometric_mean'][peer]:.1f} x {peer}" for peer in peers)
        lines += ["", f"Geometric mean over W1 to W6 and W8 (W6 as one): {means}."]
    lines += _when(rows)
    if "memory" in record:
        lines += ["", "| peak memory of ten steps, MiB | ours, fused | recipe |", "|---|---|---|"]
        for name, peak in record["memory"].items():
            lines.append(f"| {name} | {peak['ours, fused']:,.0f} | {peak['recipe']:,.0f} |")
    lines += ["", f"Same learning: mean loss at step {LEARNING_STEPS} of 24 models, ± standard error."]
    for row in record["same_learning"]:
        found = ", ".join(f"{name} {loss:.5f} ± {error:.5f}" for name, (loss, error) in row["losses"].items())
        lines.append(f"* {row['workload']}: {found}")
    return "\n".join(lines) + "\n"


def _when(rows: list[dict[str, Any]]) -> list[str]:
    """When what was timed, and what else ran: a row a date, of rows that say it."""
    lines = []
    for date in sorted({row["date"] for row in rows if "date" in row}):
        there = [row for row in rows if row.get("date") == date]
        loads = [row["load"] for row in there]
        names = ", ".join(dict.fromkeys(name_of(row) for row in there))
        lines += ["", f"{names}: {date}, load average {min(loads):.1f} to {max(loads):.1f} before each workload."]
    return lines


def picture(record: dict[str, Any], path: Path) -> None:
    """The median ratio of every peer on every workload."""
    import matplotlib.pyplot as plt

    lowest = {str(workload): workload.densities[-1] for workload in WORKLOADS}
    rows = [row for row in record["rows"] if row["density"] == lowest[row["workload"]]]
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for name in list(rows[0]["ms"])[1:]:
        axes.plot(range(len(rows)), [row["ratio"][name]["median"] for row in rows], "o", label=name)
    axes.axhline(1, color="0.6", linewidth=1)
    axes.set_xticks(range(len(rows)), [row["workload"].partition(":")[0].replace(" ", "\n") for row in rows])
    axes.set_yscale("log")
    axes.set_ylabel(f"time a step / that of {next(iter(rows[0]['ms']))}")
    axes.set_title(f"density .04 or .05, {record['machine']['threads']} threads", loc="left")
    axes.legend(ncols=3, frameon=False)
    figure.savefig(path)
    plt.close(figure)


def _join(record: dict[str, Any], earlier: dict[str, Any]) -> None:
    """The rows of an earlier record that were not timed now, in the order of the workloads."""
    order = {str(workload): place for place, workload in enumerate(WORKLOADS)}
    now = {row["workload"] for row in record["rows"]}
    record["rows"] += [row for row in earlier["rows"] if row["workload"] not in now]
    record["rows"].sort(key=lambda row: (order[row["workload"]], -row["density"]))
    record["memory"] = earlier.get("memory", {})


def main() -> None:
    """Run, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "core"), default="cpu")
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    device, only = arguments.device, [name for name in arguments.only.split(",") if name]
    if device == "core":
        keep_to_one_core()
    makes = sides(device)
    torch.set_float32_matmul_precision("highest")
    chosen = [w for w in WORKLOADS if not only or w.name.split()[0] in only]
    record: dict[str, Any] = {
        "device": device,
        "machine": machine(device),
        "same_learning": same_learning(makes),
        "rows": [],
    }
    for workload in chosen:
        record["rows"] += compare(workload, makes, device)
    kept = arguments.out / f"engines-{device}.json"
    if only and kept.exists():
        _join(record, json.loads(kept.read_text()))
    if set(map(name_of, record["rows"])) >= set(MEANT):
        record["geometric_mean"] = {name: geometric_mean(record["rows"], name) for name in list(makes)[1:]}
    if device == "cpu":
        record["memory"] = record.get("memory", {}) | {str(workload): memory(workload) for workload in chosen}
        arguments.out.mkdir(parents=True, exist_ok=True)
        picture(record, arguments.out / "engines-cpu.svg")
    write(arguments.out, f"engines-{device}", markdown(record), record)


if __name__ == "__main__":
    main()
