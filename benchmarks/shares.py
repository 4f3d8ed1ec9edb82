"""What training an arm takes on a device, and what measuring it takes: there, and the same on the CPU.

    python -m benchmarks.shares [--device cuda|cpu] [--engine auto] [--minutes 8] [--tiny] [--out benchmarks/results]

One arm of the decoder 64 -> 16 -> 64, SoLU and LayerNorm, as in W9: trained, measured as a pack is (evaluation, nulls,
probes), put to the battery, its dictionaries trained and scored as P9 asks, and the numbers of the battery made of it.
The last is done on the CPU wherever the rest is. Each share is of all of it together. On the CPU few of the models are
measured, and the time is told from theirs. A call begins nothing after ``--minutes``; where something is left out there
are no shares.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

import toymodels as tm
from benchmarks.options import check_device, check_engines, chosen, of_a_device
from benchmarks.timing import clock, machine, stem, write
from benchmarks.workload import DECODER, Workload
from toymodels.engines import ENGINES
from toymodels.hosts import Models
from toymodels.hypotheses.arms import MAIN, Regime
from toymodels.hypotheses.battery import statistics
from toymodels.hypotheses.evidence import Evidence, halves
from toymodels.hypotheses.measuring import gather
from toymodels.hypotheses.predictions.p9_harder_to_find import dictionaries

WHAT = TRAINING, PACK, BATTERY, DICTIONARIES, NUMBERS = (
    "training",
    "a pack's measures",
    "battery",
    "dictionaries",
    "statistics",
)
DENSITY = 0.02
WHERE = {"there": "there", "cpu": "on the CPU"}
FORMS = (".3g", ".1%", ".3g", ".1%")
"""of seconds and shares in the columns of the page"""


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    workload: Workload = DECODER
    steps: int = 6000
    samples: int = 50_000
    on_cpu: int = 4
    """models that are measured on the CPU beside"""
    first: tuple[int, int] = (2, 1024)
    """models and samples that are measured before anything is timed"""


TINY = Sizes(
    replace(DECODER, models=2, n=8, m=6, embedding=4, batch=32), steps=20, samples=256, on_cpu=1, first=(1, 256)
)


def measured(arm: Models, samples: int, device: str, end: float = float("inf")) -> dict[str, float]:
    """Seconds of each way of measuring an arm, where its parameters are, of those that can be begun before ``end``."""
    found: dict[str, Evidence] = {}

    def battery() -> None:
        found[MAIN] = gather(Regime("an arm", {MAIN: arm}), "1e-05", samples)

    work: dict[str, Callable[[], Any]] = {
        PACK: lambda: tm.measure(arm.experiments, arm.parameters, samples),
        BATTERY: battery,
        DICTIONARIES: lambda: dictionaries(arm, *halves(samples)),
        NUMBERS: lambda: statistics(found[MAIN]),
    }
    return {name: clock(device, each) for name, each in work.items() if time.monotonic() < end}


def timed(sizes: Sizes, device: str, engine: str, end: float) -> dict[str, dict[str, float]]:
    """Seconds of everything for the whole arm: ``there``, on the device, and ``cpu``, where only measuring is timed.

    What is not begun before ``end``, by ``time.monotonic``, is left out.
    """
    es = sizes.workload.experiments(DENSITY, sizes.steps)
    few = es[: sizes.on_cpu]
    # Once beforehand, so that nothing is compiled or loaded while it is timed.
    short = [replace(e, training=replace(e.training, steps=2)) for e in es]
    begun = tm.train(short, device=device, engine=engine).parameters
    models, samples = sizes.first
    for kind in dict.fromkeys((device, "cpu")):
        measured(Models(es[:models], begun[:models].to(kind, torch.float32)), samples, device)
    trained: list[tm.Parameters] = []
    there = {TRAINING: clock(device, lambda: trained.append(tm.train(es, device=device, engine=engine).parameters))}
    p = trained[0]
    there |= measured(Models(es, p.to(device, torch.float32)), sizes.samples, device, end)
    here = measured(Models(few, p[: len(few)].to("cpu", torch.float32)), sizes.samples, "cpu", end)
    return {"there": there, "cpu": {name: seconds * len(es) / len(few) for name, seconds in here.items()}}


def shares(there: dict[str, float], cpu: dict[str, float]) -> dict[str, dict[str, float]]:
    """The share of each of all together: measured where it was trained, and measured on the CPU. None where something
    was left out."""
    of = {"there": there, "cpu": {TRAINING: there[TRAINING]} | cpu}
    return {
        where: {name: each / sum(seconds.values()) for name, each in seconds.items()}
        for where, seconds in of.items()
        if seconds.keys() == set(WHAT)
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
    there_and_cpu = (there, share.get("there", {}), cpu, share.get("cpu", {}))
    for name in WHAT:
        cells = (f"{of[name]:{form}}" if name in of else "" for of, form in zip(there_and_cpu, FORMS, strict=True))
        lines.append(f"| {' | '.join((name, *cells))} |")
    rest = [f"{1 - share[where][TRAINING]:.1%} measured {said}" for where, said in WHERE.items() if where in share]
    if rest:
        lines += ["", f"All but training: {', '.join(rest)}."]
    if left_out := record["left_out"]:
        lines += ["", f"Not begun, as the time was up: {', '.join(left_out)}."]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Run, print and write the record."""
    parser = of_a_device(__doc__, minutes=8.0)
    parser.add_argument("--engine", default="auto")
    asked = parser.parse_args(arguments)
    check_device(parser, asked.device)
    names = chosen(parser, "--engine", asked.engine, ("auto", *ENGINES))
    check_engines(parser, [name for name in names if name != "auto"], asked.device)
    end, sizes = time.monotonic() + 60 * asked.minutes, TINY if asked.tiny else Sizes()
    seconds = timed(sizes, asked.device, asked.engine, end)
    there, cpu = seconds["there"], seconds["cpu"]
    record: dict[str, Any] = {
        "machine": machine(asked.device),
        "tiny": asked.tiny,
        "workload": str(sizes.workload),
        "steps": sizes.steps,
        "samples": sizes.samples,
        "on_cpu": sizes.on_cpu,
        "seconds": seconds,
        "shares": shares(**seconds),
        "left_out": [
            *(name for name in WHAT if name not in there),
            *(f"{name} on the CPU" for name in WHAT[1:] if name not in cpu),
        ],
    }
    write(asked.out, stem("shares", record), markdown(record), record)


if __name__ == "__main__":
    main()
