"""Our engines on one device against the standard recipe, beside what that device was measured to do in the same run.

    python -m benchmarks.device [--device cuda|cpu] [--parts learning,peers,scale] [--only W1,W2] [--minutes 9]

* *learning*: every side must learn the same, or nothing is timed.
* *peers*: W1 to W10; the recipe eager, as a CUDA graph and under torch.compile, interleaved with ours.
* *scale*: 1 to 10^6 models of two sizes, on every engine of ours.

A call begins nothing after ``--minutes``: the same call with others in ``--only`` adds to the record of a device of
that name. What the kernels of an engine take of the device (registers, spills, occupancy) is in the record, too.
``--tiny`` has sizes that any CPU finishes in seconds: it shows that the program works and says nothing of speed.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import torch

from benchmarks.device_page import markdown
from benchmarks.engines import LEARNING, LEARNING_STEPS, Make, same_learning
from benchmarks.options import check_device, check_engines, chosen, of_a_device, workloads
from benchmarks.peers.recipe import Compiled, Graphed, Recipe
from benchmarks.roofline import Peaks, Step, measure_peaks
from benchmarks.timing import Ours, Side, TooShort, machine, per_step, ratio, stem, steps_for, told, write
from benchmarks.workload import WORKLOADS, Workload
from toymodels.engines import ENGINES, OutOfMemory
from toymodels.training.memory import is_out_of_memory

PARTS = ("learning", "peers", "scale")
SCALED = (Workload("2->1", 1, 2, 1, 64), Workload("20->5", 1, 20, 5, 1024))


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    workloads: tuple[Workload, ...] = WORKLOADS
    models: tuple[int, ...] = (1, 10, 100, 1000, 10_000, 100_000, 1_000_000)
    product: int = 4096
    copied: int = 2**28
    learning: tuple[Workload, ...] = LEARNING
    learning_steps: int = LEARNING_STEPS
    seconds: float = 0.5
    repeats: int = 3


TINY = Sizes(
    workloads=tuple(
        replace(w, models=2, n=min(w.n, 8), m=2, batch=64, embedding=min(w.embedding, 4)) for w in WORKLOADS
    ),
    models=(1, 10),
    product=64,
    copied=2**12,
    learning=tuple(replace(w, models=4, n=8, m=4, batch=64, embedding=min(w.embedding, 4)) for w in LEARNING),
    learning_steps=40,
    seconds=0.01,
    repeats=1,
)


def engines(kind: str) -> list[str]:
    """Our engines for a kind of device, the one that ``auto`` prefers first."""
    return [name for name, engine in reversed(ENGINES.items()) if kind in engine.devices]


def sides(device: str, ours: Sequence[str]) -> dict[str, Make]:
    """Ours first, then the peers that the device has."""

    def engine(name: str) -> Make:
        return lambda w, p: Ours(name, w, p, device)

    makes = {f"ours, {name}": engine(name) for name in ours}
    makes["recipe"] = lambda w, p: Recipe(w, p, device)
    if device == "cuda":
        makes |= {"CUDA graph": Graphed, "torch.compile": lambda w, p: Compiled(w, p, device)}
    return makes


def learned(makes: dict[str, Make], sizes: Sizes) -> list[dict[str, Any]]:
    """`same_learning` of every side that works here; the others are said with their reason."""
    failed: dict[str, str] = {}
    for name, make in makes.items():
        with noting(name, failed):
            side = make(sizes.learning[0], 0.1)
            side.run(2)
            side.close()
    for name, reason in failed.items():
        print(f"{name} does not run here: {reason}", flush=True)
    working = {name: make for name, make in makes.items() if name not in failed}
    return same_learning(working, sizes.learning, sizes.learning_steps)


def compare(
    workload: Workload, makes: dict[str, Make], device: str, sizes: Sizes, peaks: Peaks
) -> Iterator[dict[str, Any]]:
    """A row a density: seconds a step of every side, interleaved, and of the others' over the first's.

    A side that cannot, or whose steps are too short, is left out of both, with why.
    """
    built, steps, failed = dict[str, Side](), dict[str, int](), dict[str, str]()
    for name, make in makes.items():
        with noting(name, failed):
            built[name] = make(workload, workload.densities[0])
            steps[name] = steps_for(built[name], sizes.seconds, device)
    built = {name: side for name, side in built.items() if name not in failed}
    for density in workload.densities if built else ():
        for name, side in built.items():
            side.density = density
            side.run(steps[name] + 2)
        times: dict[str, list[float]] = {name: [] for name in built}
        for _ in range(sizes.repeats):
            for name, side in built.items():
                times[name].append(per_step(side, steps[name], device))
        seconds, untold = dict[str, float](), dict(failed)
        for name, values in times.items():
            with noting(name, untold):
                seconds[name] = statistics.median(told(values))
        first, *others = times
        yield {
            "workload": str(workload),
            "density": density,
            "seconds": seconds,
            "ratio": {name: ratio(times[name], times[first]) for name in others if {first, name} <= seconds.keys()},
            "reached": {
                name: Step.of(workload).reached(peaks, each)
                for name, each in seconds.items()
                if name.startswith("ours")
            },
            "failed": untold,
        }
    for side in built.values():
        side.close()


def scale(w: Workload, models: int, name: str, device: str, sizes: Sizes, peaks: Peaks) -> dict[str, Any]:
    """A step of so many models on one of our engines, or why there is none."""
    workload, failed = replace(w, models=models), dict[str, str]()
    row: dict[str, Any] = {"workload": w.name, "models": models, "engine": name}
    with noting(name, failed):
        side = Ours(name, workload, 0.05, device)
        steps = steps_for(side, sizes.seconds, device)
        seconds = statistics.median(told([per_step(side, steps, device) for _ in range(sizes.repeats)]))
        row |= {"seconds": seconds, "reached": Step.of(workload).reached(peaks, seconds)}
    return row | {"failed": failed}


@contextmanager
def noting(name: str, failed: dict[str, str]) -> Iterator[None]:
    """Notes why a side could not, by its name, and goes on."""
    try:
        yield
    except TooShort as error:
        failed[name] = str(error)
    except Exception as error:
        full = isinstance(error, OutOfMemory) or is_out_of_memory(error)
        first = str(error).partition("\n")[0]
        failed[name] = "out of memory" if full else f"{type(error).__name__}: {first}"
        if torch.cuda.is_available():
            with suppress(RuntimeError):  # after some errors CUDA refuses everything, this too
                torch.cuda.empty_cache()


def resources(names: Sequence[str], workload: Workload, device: str) -> dict[str, Any]:
    """By engine and workload, what each kernel takes of the device, or why it cannot be told."""
    found, failed = dict[str, Any](), dict[str, str]()
    for name in names:
        of = f"{name}, {workload.name}"
        with noting(of, failed):
            found[of] = ENGINES[name].resources(replace(workload, models=1).experiments(0.05, 2), device)
    return {of: told for of, told in found.items() if told} | failed


def geometric_means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of the median ratios to each peer over all workloads; the densities of a workload, and kinds of W6, as one."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for peer, times in row["ratio"].items():
            name = re.split("[ :]", row["workload"])[0]
            found.setdefault(peer, {}).setdefault(name, []).append(math.log(times["median"]))
    return {peer: math.exp(statistics.mean(map(statistics.mean, of.values()))) for peer, of in found.items()}


def joined(record: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Add the rows of an earlier record of the same machine that were not timed now."""
    if earlier.get("machine") != record["machine"]:
        return
    for part, key in (("rows", ("workload", "density")), ("scale", ("workload", "models", "engine"))):
        now = {tuple(row[name] for name in key) for row in record[part]}
        record[part] += [row for row in earlier[part] if tuple(row[name] for name in key) not in now]
    record["learning"] = record["learning"] or earlier["learning"]
    record["resources"] = earlier["resources"] | record["resources"]


def main(arguments: list[str] | None = None) -> None:
    """Run, print and write the record."""
    parser = of_a_device(__doc__, minutes=9.0)
    parser.add_argument("--parts", default="", help=f"default: {','.join(PARTS)}")
    parser.add_argument("--only", default="", help="default: every workload")
    parser.add_argument("--engines", default="", help="default: all for the device")
    asked = parser.parse_args(arguments)
    end, sizes, device = time.monotonic() + 60 * asked.minutes, TINY if asked.tiny else Sizes(), asked.device
    only = workloads(parser, asked.only)
    parts = chosen(parser, "--parts", asked.parts, PARTS) or PARTS
    ours = chosen(parser, "--engines", asked.engines, ENGINES)
    check_device(parser, device)
    check_engines(parser, ours, device)
    ours = ours or engines(device)
    makes, peaks = sides(device, ours), measure_peaks(device, sizes.product, sizes.copied)
    torch.set_float32_matmul_precision("highest")
    record: dict[str, Any] = {
        "machine": machine(device),
        "tiny": asked.tiny,
        "peaks": asdict(peaks),
        "learning": learned(makes, sizes) if "learning" in parts else [],
        "rows": [],
        "scale": [],
        "left_out": [],
        "resources": {},
    }
    try:
        for workload in (w for w in sizes.workloads if "peers" in parts and (not only or w.name.split()[0] in only)):
            if time.monotonic() > end:
                record["left_out"].append(workload.name)
                continue
            record["rows"] += compare(workload, makes, device, sizes, peaks)
            record["resources"] |= resources(ours, workload, device)
            print(workload, *(f"{row['density']:g} {row['seconds']}" for row in record["rows"][-2:]), flush=True)
        for models, w, name in product(sizes.models, SCALED, ours) if "scale" in parts else ():
            if time.monotonic() > end:
                record["left_out"].append(f"{models:,} models {w.name} on {name}")
                continue
            record["scale"].append(scale(w, models, name, device, sizes, peaks))
    finally:  # what was measured is kept, whatever a GPU does to the rest
        called = stem("device", record)
        if (kept := asked.out / f"{called}.json").exists():
            joined(record, json.loads(kept.read_text()))
        record["geometric_mean"] = geometric_means(record["rows"])
        write(asked.out, called, markdown(record), record)


if __name__ == "__main__":
    main()
