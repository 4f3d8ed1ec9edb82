"""Which choices of the gpu engine are best on one device: the tile, the warps of a program, the models of a launch.

    python -m benchmarks.tuning [--only W1,W2] [--minutes 8] [--device cuda|cpu] [--tiny]

* *Forms*: of each of W1 to W10 that the engine takes, seconds a step with every tile and number of warps, beside what
  the kernel takes of a multiprocessor. The rule's own form comes first, and is the truth that the others are held
  against: what computes another loss is not timed. In the end the best other and the rule's are timed once more, in
  turns, as the least of many noisy times is too low.
* *Models*: seconds a step and model with 1 to 64 models a multiprocessor in a launch.

Kernels are compiled in as many processes as there are cores, while what is ready is timed. A call begins nothing after
``--minutes``; the same call with others in ``--only`` adds to the record of a device of that name. ``--device cpu
--tiny`` with TRITON_INTERPRET=1 shows that the program works and says nothing of speed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.compiled import NotCompiled, compiled, formed, one
from benchmarks.device import SCALED, TINY, noting
from benchmarks.options import check_device, check_engines, of_a_device, workloads
from benchmarks.timing import TooShort, machine, per_step, spread, stem, steps_for, told, write
from benchmarks.tuning_page import markdown
from benchmarks.workload import WORKLOADS, Workload
from toymodels.engines import ENGINES
from toymodels.engines.gpu import PROGRAMS
from toymodels.engines.gpu.form import Form, form_of
from toymodels.engines.gpu.run import GpuRun

STEPS = 10**7
"""of the runs of which a few are taken: none comes to its end"""
FULL = 2 * 255
"""numbers a thread beyond which a form is not tried: half of them would be spilled, and compiling takes minutes"""
LATE = "not begun, as the time was up"
SAME = 1e-3
"""how far the loss of a first step may be from the rule's, relative: sums are taken in another order"""


@dataclass(frozen=True)
class Grid:
    """What is tried, and for how long each."""

    workloads: tuple[Workload, ...] = WORKLOADS
    tiles: tuple[int, ...] = (16, 32, 64, 128, 256)
    warps: tuple[int, ...] = (1, 2, 4, 8)
    scaled: tuple[Workload, ...] = SCALED
    programs: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    seconds: float = 0.15
    repeats: int = 3


SMALL = Grid(
    workloads=tuple(replace(w, batch=16) for w in TINY.workloads),
    tiles=(16, 32),
    warps=(1, 2),
    scaled=tuple(replace(w, n=min(w.n, 8), m=min(w.m, 2), batch=16) for w in SCALED),
    programs=(1, 2),
    seconds=TINY.seconds,
    repeats=TINY.repeats,
)


class Formed:
    """Models of a workload on their way, with whatever tile and warps: a `benchmarks.timing.Side`."""

    name = "gpu"

    def __init__(self, workload: Workload, device: str) -> None:
        self.density = workload.densities[0]
        self.going = GpuRun(workload.experiments(self.density, STEPS), device)
        self.start = {name: tensor.clone() for name, tensor in self.going.state().items()}

    def take(self, form: Form) -> None:
        """Begin again, with this form."""
        self.going.batch = replace(self.going.batch, form=form)
        self.going.put_back(self.start)

    def run(self, steps: int) -> Tensor:
        """Train on."""
        self.going.advance(self.going.t + steps)
        return self.going.newest_losses()

    def close(self) -> None:
        """Nothing is held."""


def choices(workload: Workload, grid: Grid) -> dict[Form, str | None]:
    """The forms of a workload, the rule's first; of those that need not be tried why."""
    rule = form_of(one(workload))
    found: dict[Form, str | None] = {rule: None}
    for tile, warps in product(grid.tiles, grid.warps):
        form = formed(workload, tile, warps)
        held = form.held / (32 * warps)
        if tile > max(rule.tile, workload.batch):
            found.setdefault(form, f"a batch has {workload.batch} samples")
        found.setdefault(form, f"a thread would hold {held:,.0f} numbers" if held > FULL else None)
    return found


class Tuned:
    """Forms of one workload, timed one after the other on one device."""

    def __init__(self, workload: Workload, device: str, grid: Grid) -> None:
        self.workload, self.device, self.grid = workload, device, grid
        self.side = Formed(workload, device)
        self.loss: float | None = None
        """of the first step, of the first form that took one"""
        self.found: dict[Form, tuple[float, int]] = {}
        """seconds a step, and of how many they were measured"""

    def time(self, form: Form) -> dict[str, float]:
        """Seconds a step. Raises ``ArithmeticError`` for a form that computes something else, and `TooShort`."""
        self.side.take(form)
        loss = self.side.run(1).double().mean().item()
        self.loss = loss if self.loss is None else self.loss
        if not abs(loss - self.loss) <= SAME * self.loss:
            raise ArithmeticError(f"the loss of the first step is {loss:.7g}, and {self.loss:.7g} with the rule's form")
        steps = steps_for(self.side, self.grid.seconds, self.device)
        seconds = spread(told([per_step(self.side, steps, self.device) for _ in range(self.grid.repeats)]))
        self.found[form] = seconds["median"], steps
        return seconds

    def best_other(self, rule: Form) -> dict[str, Any] | None:
        """The fastest form but the rule's, and how many times as long a step with the rule's takes, in turns.

        None for how many times, where both were timed before and steps are too short now.
        """
        others = {form: seconds for form, (seconds, _) in self.found.items() if form != rule}
        if rule not in self.found or not others:
            return None
        best, ratios = min(others, key=lambda form: others[form]), list[float]()
        for _ in range(self.grid.repeats):
            seconds = list[float]()
            for form in (rule, best):
                self.side.take(form)
                seconds.append(per_step(self.side, self.found[form][1], self.device))
            ratios.append(seconds[0] / seconds[1])
        try:
            return {"tile": best.tile, "warps": best.warps, "rule over it": spread(told(ratios))}
        except TooShort:
            return {"tile": best.tile, "warps": best.warps, "rule over it": None}


def compiling(
    workloads: list[Workload], grid: Grid, processes: ThreadPoolExecutor
) -> dict[Workload, dict[Form, Future[dict[str, Any]]]]:
    """What will be known of every form that is tried, on the GPU that is there."""

    def ahead(w: Workload) -> dict[Form, Future[dict[str, Any]]]:
        major, minor = torch.cuda.get_device_capability()
        tried = (form for form, why in choices(w, grid).items() if why is None)
        return {f: processes.submit(compiled, w, f.tile, f.warps, 10 * major + minor) for f in tried}

    return {w: ahead(w) for w in workloads}


def waited(kernel: Future[dict[str, Any]], end: float) -> dict[str, Any]:
    """What a kernel takes, once it is compiled. Raises `NotCompiled`."""
    try:
        return kernel.result(timeout=max(1.0, end - time.monotonic()))
    except TimeoutError:
        raise NotCompiled("not when the time was up") from None


def forms(
    workload: Workload, device: str, grid: Grid, taken: dict[Form, Future[dict[str, Any]]], end: float
) -> Iterator[dict[str, Any]]:
    """A row a form: what its kernel takes and seconds a step, or why there are none.

    The first is the rule's; when all were tried it is given the best other.
    """
    of, tried = Tuned(workload, device, grid), choices(workload, grid)
    rule, rows = next(iter(tried)), list[dict[str, Any]]()
    for form, why in tried.items():
        row: dict[str, Any] = {"workload": str(workload), "tile": form.tile, "warps": form.warps, "rule": form == rule}
        late = LATE if time.monotonic() > end else None
        failed = {"form": reason} if (reason := why or late) else dict[str, str]()
        if not failed:
            with noting("form", failed):
                if form in taken:
                    row["kernel"] = waited(taken[form], end)
                row["seconds"] = of.time(form)
        rows.append(row | {"failed": failed.get("form")})
        yield rows[-1]
    rows[0]["best other"] = of.best_other(rule)


def models(workload: Workload, programs: int, device: str, grid: Grid) -> dict[str, Any]:
    """Seconds a step of so many models a multiprocessor in one launch, or why there are none."""
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count if device == "cuda" else 1
    several, failed = replace(workload, models=programs * multiprocessors), dict[str, str]()
    row = {"workload": workload.name, "programs": programs, "models": several.models, "rule": programs == PROGRAMS}
    with noting("models", failed):
        row["seconds"] = Tuned(several, device, grid).time(form_of(one(several)))
    return row | {"failed": failed.get("models")}


def joined(record: dict[str, Any], earlier: dict[str, Any]) -> None:
    """Add what an earlier record of the same machine has of workloads that were not timed now."""
    for part in ("forms", "models") if earlier["machine"] == record["machine"] else ():
        now = {row["workload"] for row in record[part]}
        record[part] += [row for row in earlier[part] if row["workload"] not in now]


def main(arguments: list[str] | None = None) -> None:
    """Run, print and write the record."""
    parser = of_a_device(__doc__, minutes=8.0)
    parser.add_argument("--only", default="")
    asked = parser.parse_args(arguments)
    end, grid, device = time.monotonic() + 60 * asked.minutes, SMALL if asked.tiny else Grid(), asked.device
    only = workloads(parser, asked.only)
    check_device(parser, device)
    check_engines(parser, ["gpu"], device)
    record: dict[str, Any] = {"machine": machine(device), "tiny": asked.tiny, "forms": [], "models": [], "left_out": {}}
    chosen = list[Workload]()
    for workload in (w for w in grid.workloads if not only or w.name.split()[0] in only):
        if reason := ENGINES["gpu"].refuses([one(workload)], device):
            record["left_out"][str(workload)] = reason
        else:
            chosen.append(workload)
    processes = ThreadPoolExecutor(max(1, (os.cpu_count() or 1) - 1))
    try:
        ahead = compiling(chosen if device == "cuda" and not asked.tiny else [], grid, processes)
        # The rows of models come first: they take half a minute, and forms what is left.
        for workload, programs in product(grid.scaled, grid.programs) if not only else ():
            record["models"].append(models(workload, programs, device, grid))
            print(record["models"][-1], flush=True)
        for workload in chosen:
            if time.monotonic() > end:
                record["left_out"][str(workload)] = LATE
                continue
            for row in forms(workload, device, grid, ahead.get(workload, {}), end):
                record["forms"].append(row)
                print(row, flush=True)
    finally:  # what was measured is kept, whatever a GPU does to the rest
        processes.shutdown(cancel_futures=True)
        called = stem("tuning", record)
        if (kept := asked.out / f"{called}.json").exists():
            joined(record, json.loads(kept.read_text()))
        write(asked.out, called, markdown(record), record)


if __name__ == "__main__":
    main()
