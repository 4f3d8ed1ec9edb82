"""The cores that this process may use: fewer than the machine has under an affinity mask or a cgroup's CPU quota.

A container, a Slurm task or ``systemd-run`` may allow a process a quota of CPU time, of its own control group or of one
around it. More threads than that gain nothing: they spend the quota together and are then all stopped at once, in the
middle of a step (Linux, *Control Group v2*, ``cpu.max``; in version 1 ``cpu.cfs_quota_us``). Of what knows quotas,
Dask reads the innermost group alone, and Python and torch none.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch

from toymodels.surroundings import torch_threads

PROC = Path("/proc/self")
OCTAL = re.compile(r"\\([0-7]{3})")
"""how the kernel writes a space, a tab, a line's end or a backslash inside a path"""


def usable() -> int:
    """How many cores this process may use: those of its affinity mask, at most its CPU quota rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, math.ceil(min(quota(), allowed))))


def quota(proc: Path = PROC) -> float:
    """The CPU quota in cores, the least of the process's control group and of those around it; infinite without one.

    ``proc`` is the process's folder under ``/proc``: its ``cgroup`` says in which groups it is, its ``mountinfo`` where
    these are seen as files.
    """
    try:
        # Names of mounts and groups are bytes, and need not be text.
        lines = [os.fsdecode((proc / name).read_bytes()).splitlines() for name in ("cgroup", "mountinfo")]
    except OSError:  # no Linux
        return math.inf
    groups = [line.split(":", 2) for line in lines[0] if line.count(":") >= 2]
    return min((_least(folder, top) for folder, top in _folders(groups, lines[1])), default=math.inf)


def _folders(groups: list[list[str]], mounts: list[str]) -> Iterator[tuple[Path, Path]]:
    """Of each hierarchy that can hold a CPU quota, the folder of the process's group and that where it is mounted."""
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        kind, _, options = [*after.split(" "), "", "", ""][:3]  # the source, in the middle, may be empty
        if not kind.startswith("cgroup") or before.count(" ") < 4:
            continue
        seen, where = (OCTAL.sub(lambda found: chr(int(found[1], 8)), part) for part in before.split(" ")[3:5])
        for _, controllers, group in groups:
            second = kind == "cgroup2" and not controllers
            first = kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options.split()[-1].split(",")
            if first or second:
                # A container may see its own group as the top, while it is named as the host does.
                inside = PurePosixPath(group).is_relative_to(seen)
                below = PurePosixPath(group).relative_to(seen) if inside else PurePosixPath()
                yield Path(where) / below, Path(where)


def _least(folder: Path, top: Path) -> float:
    """The least quota of the groups from ``folder`` up to ``top``."""
    above = [each for each in folder.parents if each.is_relative_to(top)]
    return min(_of_group(each) for each in (folder, *above))


def _of_group(folder: Path) -> float:
    """The quota of one group, in cores, as either version writes it."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            used, period = " ".join((folder / name).read_text() for name in names).split()
        except (OSError, ValueError):
            continue
        if used.isdecimal() and int(used) > 0 and period.isdecimal() and int(period) > 0:
            return int(used) / int(period)
    return math.inf


@contextmanager
def on_threads(given: int | None = None) -> Iterator[int]:
    """Let torch, and the fused engine, use so many threads where this thread trains, and say how many.

    That is ``given``, or what torch is set to, and never more than the cores that this process may use. What OMP, MKL
    and torch say of the number is of one thread: it is set in the thread that trains, and afterwards as it was.
    """
    before = torch.get_num_threads()
    threads = max(1, min(before if given is None else given, usable()))
    with torch_threads(threads):
        yield threads
