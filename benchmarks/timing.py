"""Timing: steps of one side after the other, again and again; and what the machine itself can do in the same run."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

import toymodels as tm
from benchmarks.workload import Workload
from toymodels.engines import ENGINES

RESULTS = Path(__file__).parent / "results"
LEAST = 1e-3
"""seconds that steps must take to be told from what else a machine does meanwhile"""
SHARE = 0.02
"""of the run that is taken off, that they must take: two runs of one thing differ by as much"""


class TooShort(Exception):
    """Steps that take too little time to be told from what comes before the first."""

    def __init__(self) -> None:
        super().__init__("too short to time")


class Side(Protocol):
    """What is timed: an engine of ours or a peer."""

    name: str

    @property
    def density(self) -> float:
        """How often a feature is active; may be set."""
        ...

    @density.setter
    def density(self, value: float, /) -> None: ...

    def run(self, steps: int) -> Tensor:
        """Train; the losses of the last step, [model]."""
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


class Ours:
    """One of our engines, by the interface of the peers. Every call trains from the start.

    What to train is described once for each number of steps; describing it again is not timed.
    """

    def __init__(self, engine: str, workload: Workload, density: float, device: str = "cpu") -> None:
        self.name = f"ours, {engine}"
        self.engine, self.workload, self.density, self.device = engine, workload, density, device
        self.described: dict[tuple[float, int], list[tm.Experiment]] = {}

    def run(self, steps: int) -> Tensor:
        """Train; the losses of the last step."""
        described = (self.density, steps)
        if described not in self.described:
            self.described[described] = self.workload.experiments(self.density, steps)
        return ENGINES[self.engine].train(self.described[described], device=self.device).curve[:, -1]

    def close(self) -> None:
        """Nothing is held."""


def clock(device: str, work: Callable[[], Any]) -> float:
    """Seconds that ``work`` takes, to its last kernel; on a ``core`` those that this process computed."""
    if device == "cuda":
        torch.cuda.synchronize()
    now = time.process_time if device == "core" else time.perf_counter
    begin = now()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return now() - begin


def keep_to_one_core() -> None:
    """One thread a side, and all on one core: for a machine that others use too."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)


def steps_for(side: Side, seconds: float, device: str = "cpu") -> int:
    """How many steps take about so long, or as long as what comes before the first one; compiles what is compiled.

    It is told from four steps, and from 200 where four are lost in what comes before.
    """
    side.run(2)
    few = step = clock(device, lambda: side.run(2))
    for more in (4, 200):
        step = (clock(device, lambda more=more: side.run(more + 2)) - few) / more
        if step > few / 200:
            break
    return max(2, min(5000, int(max(seconds, few) / max(step, few / 5000, 1e-6))))


def per_step(side: Side, steps: int, device: str = "cpu") -> float:
    """Seconds a step: a long run less a short one, so that what is done before the first step is not in it.

    NaN where the difference is less than `LEAST`, or than `SHARE` of the short run.
    """
    short = clock(device, lambda: side.run(2))
    more = clock(device, lambda: side.run(steps + 2)) - short
    return math.nan if more < max(LEAST, SHARE * short) else more / steps * getattr(side, "scale", 1.0)


def told(values: Sequence[float], least: int | None = None) -> list[float]:
    """Those of several measurements that are numbers. Raises `TooShort` unless ``least``, or else most, are."""
    found = [value for value in values if not math.isnan(value)]
    if len(found) < (len(values) // 2 + 1 if least is None else least):
        raise TooShort
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """min, median, max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def ratio(them: Sequence[float], us: Sequence[float]) -> dict[str, float]:
    """`spread` of how many times as long they took as we, of the turns in which both could be timed."""
    return spread(told([their / our for their, our in zip(them, us, strict=True)], least=1))


def sgemm(device: str = "cpu") -> float:
    """FLOP a second of torch's own float32 product of two 1,024 x 1,024 matrices, the best of ten."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    return 2 * 1024**3 / min(clock(device, lambda: a @ b) for _ in range(10))


def peak_mib(program: str) -> float:
    """By how much ``work()`` raises the peak resident memory, in MiB, of a process that ran ``program`` first."""
    code = f"""
import re
from pathlib import Path
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
{program}
before = peak()
work()
print("MiB", peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = re.search(r"MiB (\S+)", done.stdout)
    assert found
    return float(found[1])


def machine(device: str = "cpu") -> dict[str, Any]:
    """What this ran on."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else model[1] if model else platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "toymodels": tm.__version__,
    }


def stem(what: str, record: dict[str, Any]) -> str:
    """What a record of a device is called, without its ending."""
    name = re.sub(r"\W+", "-", record["machine"]["device"]).strip("-").lower()
    return f"{what}-{name}-tiny" if record["tiny"] else f"{what}-{name}"


def write(out: Path, stem: str, page: str, record: dict[str, Any]) -> None:
    """One Markdown and one JSON record."""
    print(page)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.md").write_text(page)
    (out / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
