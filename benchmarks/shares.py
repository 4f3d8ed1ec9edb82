"""What training an arm takes on a device, and what measuring it takes: there, and the same on the CPU.

    python -m benchmarks.shares [--device cuda|cpu] [--engine auto] [--tiny] [--out benchmarks/results]

One arm of the decoder 64 -> 16 -> 64, SoLU and LayerNorm, as in W9: trained, measured as a pack is (evaluation, nulls,
probes), put to the battery, its dictionaries trained and scored as P9 asks, and the numbers of the battery made of it.
The last is done on the CPU wherever the rest is. Each share is of all of it together. On the CPU few of the models are
measured, and the time is told from theirs.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import toymodels as tm
from benchmarks.timing import RESULTS, clock, machine, write
from benchmarks.workload import DECODER, Workload
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, Regime
from toymodels.hypotheses.battery import statistics
from toymodels.hypotheses.evidence import Evidence, halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions.p9_harder_to_find import dictionaries

TRAINING, PACK, BATTERY, DICTIONARIES, NUMBERS = (
    "training",
    "a pack's measures",
    "battery",
    "dictionaries",
    "statistics",
)
DENSITY = 0.02


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    workload: Workload = DECODER
    steps: int = 6000
    samples: int = 50_000
    on_cpu: int = 4
    """models that are measured on the CPU beside"""


TINY = Sizes(replace(DECODER, models=2, n=8, m=6, embedding=4, batch=32), steps=20, samples=256, on_cpu=1)


def measured(arm: Models, samples: int, device: str) -> dict[str, float]:
    """Seconds of each way of measuring an arm, where its parameters are."""
    found: dict[str, Evidence] = {}

    def battery() -> None:
        found[MAIN] = gather(Regime("an arm", {MAIN: arm}), "1e-05", samples)

    work: dict[str, Callable[[], Any]] = {
        PACK: lambda: tm.measure(arm.experiments, arm.parameters, samples),
        BATTERY: battery,
        DICTIONARIES: lambda: dictionaries(arm, *halves(samples)),
        NUMBERS: lambda: statistics(found[MAIN]),
    }
    return {name: clock(device, each) for name, each in work.items()}


def timed(sizes: Sizes, device: str, engine: str) -> dict[str, dict[str, float]]:
    """Seconds of everything for the whole arm: ``there``, on the device, and ``cpu``, where only measuring is timed."""
    es = sizes.workload.experiments(DENSITY, sizes.steps)
    few = es[: sizes.on_cpu]
    # Once beforehand, so that nothing is compiled or loaded while it is timed.
    short = [replace(e, training=replace(e.training, steps=2)) for e in es]
    begun = tm.train(short, device=device, engine=engine).parameters
    for kind in dict.fromkeys((device, "cpu")):
        measured(Models(few, begun[: len(few)].to(kind, torch.float32)), sizes.samples, device)
    trained: list[tm.Parameters] = []
    there = {TRAINING: clock(device, lambda: trained.append(tm.train(es, device=device, engine=engine).parameters))}
    p = trained[0]
    there |= measured(Models(es, p.to(device, torch.float32)), sizes.samples, device)
    here = measured(Models(few, p[: len(few)].to("cpu", torch.float32)), sizes.samples, "cpu")
    return {"there": there, "cpu": {name: seconds * len(es) / len(few) for name, seconds in here.items()}}


def shares(there: dict[str, float], cpu: dict[str, float]) -> dict[str, dict[str, float]]:
    """The share of each of all together: measured where it was trained, and measured on the CPU."""
    of = {"there": there, "cpu": {TRAINING: there[TRAINING]} | cpu}
    return {
        where: {name: each / sum(seconds.values()) for name, each in seconds.items()} for where, seconds in of.items()
    }


def markdown(record: dict[str, Any]) -> str:
    """The record as a page."""
    there, cpu, share = record["seconds"]["there"], record["seconds"]["cpu"], record["shares"]
    lines = [
        f"# Training and measuring on {record['machine']['device']}",
        "",
        ", ".join(f"{what} {value}" for what, value in record["machine"].items() if what != "device"),
        "",
        f"{record['workload']}, {record['steps']:,} steps, {record['samples']:,} samples. Seconds for all models, on "
        f"the CPU told from {record['on_cpu']} of them. Shares are of all rows together.",
    ]
    if record["tiny"]:
        lines += ["", "**Tiny sizes: a trial of the program, of which nothing follows about speed.**"]
    lines += ["", "| | s there | share | s measured on the CPU | share then |", "|---|---|---|---|---|"]
    for name, seconds in there.items():
        other = f"{cpu[name]:.3g}" if name in cpu else ""
        shared = f"{share['there'][name]:.1%} | {other} | {share['cpu'][name]:.1%}"
        lines.append(f"| {name} | {seconds:.3g} | {shared} |")
    rest = (1 - share[where][TRAINING] for where in ("there", "cpu"))
    lines += ["", "All but training: {:.1%} measured there, {:.1%} on the CPU.".format(*rest)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Run, print and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    sizes = TINY if asked.tiny else Sizes()
    seconds = timed(sizes, asked.device, asked.engine)
    record: dict[str, Any] = {
        "machine": machine(asked.device),
        "tiny": asked.tiny,
        "workload": str(sizes.workload),
        "steps": sizes.steps,
        "samples": sizes.samples,
        "on_cpu": sizes.on_cpu,
        "seconds": seconds,
        "shares": shares(**seconds),
    }
    name = re.sub(r"\W+", "-", record["machine"]["device"]).strip("-").lower()
    write(asked.out, f"shares-{name}-tiny" if asked.tiny else f"shares-{name}", markdown(record), record)


if __name__ == "__main__":
    main()
