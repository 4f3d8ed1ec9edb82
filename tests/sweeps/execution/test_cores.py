"""The cores that a process may use: affinity masks and quotas of control groups, made up and real."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from toymodels.engines.autograd import AutogradEngine
from toymodels.sweeps.console.doctor import examine
from toymodels.sweeps.execution import cores
from toymodels.sweeps.execution.local import InProcess
from toymodels.sweeps.execution.reporter import SILENT

SAYS = "from toymodels.sweeps.execution.cores import usable; print(usable())"
V1 = Path("/sys/fs/cgroup/cpu")


def said(command: list[str]) -> int:
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def tree(place: Path, cgroup: str, mount: str, files: dict[str, str]) -> Path:
    """A process folder whose control groups are files under ``place``."""
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    proc = place / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    where = str(place).replace(" ", "\\040")
    (proc / "mountinfo").write_text(f"22 1 0:5 / /proc rw - proc proc rw\n{mount.replace('PLACE', where)}\n")
    return proc


V2_MOUNT = "30 23 0:26 / PLACE rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "32 31 0:29 / PLACE rw,relatime - cgroup cgroup rw,cpu,cpuacct"


@pytest.mark.parametrize(
    "cgroup, mount, files, expected",
    [
        ("0::/job", V2_MOUNT, {"job/cpu.max": "250000 100000\n"}, 2.5),
        ("0::/job", V2_MOUNT, {"job/cpu.max": "max 100000\n"}, math.inf),
        ("0::/job", V2_MOUNT, {"job/memory.max": "max\n"}, math.inf),
        ("0::/a/b/c", V2_MOUNT, {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 1.5),
        ("0::/a/b", V2_MOUNT, {"a/cpu.max": "400000 100000", "a/b/cpu.max": "50000 100000"}, 0.5),
        ("0::/", V2_MOUNT, {"cpu.max": "300000 100000"}, 3.0),
        (
            "4:memory:/m\n2:cpu,cpuacct:/slurm/job",
            V1_MOUNT,
            {"slurm/job/cpu.cfs_quota_us": "-1", "slurm/job/cpu.cfs_period_us": "100000"}
            | {"slurm/cpu.cfs_quota_us": "200000", "slurm/cpu.cfs_period_us": "100000"},
            2.0,
        ),
        ("2:cpu,cpuacct:/", V1_MOUNT, {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, math.inf),
        # A container without a name space of its own: the host's name of the group, which is mounted as the top.
        ("0::/docker/12ab", V2_MOUNT.replace(" / PLACE", " /docker/12ab PLACE"), {"cpu.max": "700000 100000"}, 7.0),
        ("0::/../other", V2_MOUNT.replace(" / PLACE", " /docker PLACE"), {"cpu.max": "700000 100000"}, 7.0),
        ("0::/job", V2_MOUNT, {"job/cpu.max": "rubbish"}, math.inf),
        ("0::/job", V2_MOUNT, {"job/cpu.max": "100000 0"}, math.inf),
    ],
)
def test_quota_is_the_least_of_a_group_and_of_those_around_it(
    tmp_path: Path, cgroup: str, mount: str, files: dict[str, str], expected: float
) -> None:
    place = tmp_path / "a place"
    assert cores.quota(tree(place, cgroup, mount, files)) == expected


def test_no_control_groups_are_no_quota(tmp_path: Path) -> None:
    assert cores.quota(tmp_path) == math.inf


@pytest.mark.parametrize("quota, expected", [(0.2, 1), (1.0, 1), (1.2, 2), (2.0, 2), (3.5, 3), (math.inf, 3)])
def test_a_quota_counts_like_an_affinity_mask(monkeypatch: pytest.MonkeyPatch, quota: float, expected: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    monkeypatch.setattr(cores, "quota", lambda: quota)
    assert cores.usable() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_a_real_affinity_mask_counts() -> None:
    one = min(os.sched_getaffinity(0))
    assert said([sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{one}}}); {SAYS}"]) == 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of version 1 with a quota of one core, where one can be made."""
    folder = V1 / f"toymodels-{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        (folder / "cpu.cfs_quota_us").write_text((folder / "cpu.cfs_period_us").read_text())
        yield folder
    finally:
        folder.rmdir()


def test_a_real_quota_counts(group: Path) -> None:
    join = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid())); "
    assert said([sys.executable, "-c", join + SAYS]) == 1


@pytest.mark.parametrize(
    "set_to, given, usable, expected", [(8, None, 3, 3), (2, None, 3, 2), (1, 2, 3, 2), (1, 9, 3, 3)]
)
def test_threads_are_those_given_at_most_the_cores(
    monkeypatch: pytest.MonkeyPatch, set_to: int, given: int | None, usable: int, expected: int
) -> None:
    monkeypatch.setattr(cores, "usable", lambda: usable)
    before = torch.get_num_threads()
    torch.set_num_threads(set_to)
    try:
        with cores.on_threads(given) as threads:
            assert threads == torch.get_num_threads() == expected
        assert torch.get_num_threads() == set_to
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("given, expected", [(None, 2), (1, 1), (9, 2)])
def test_a_sweep_trains_on_no_more_threads_than_it_may(
    monkeypatch: pytest.MonkeyPatch, given: int | None, expected: int
) -> None:
    seen = []

    def train_each(*_: object) -> Iterator[None]:
        seen.append(torch.get_num_threads())
        yield from ()

    monkeypatch.setattr(AutogradEngine, "train_each", train_each)
    monkeypatch.setattr(cores, "usable", lambda: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        job: Any = SimpleNamespace(store=SimpleNamespace(path=Path("run")))
        assert list(InProcess("autograd", "cpu", threads=given).finish(iter([job]), SILENT)) == []
        assert (seen, torch.get_num_threads()) == ([expected], 3)
    finally:
        torch.set_num_threads(before)


def test_doctor_says_how_many_cores_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toymodels.sweeps.console.doctor.usable", lambda: 3)
    facts = examine()
    assert (facts["cores"], facts["cores that may be used"]) == (os.cpu_count(), 3)
    assert facts["threads"] == min(torch.get_num_threads(), 3)


@pytest.mark.parametrize(
    "other",
    [
        b"40 23 0:30 / /media/caf\xe9 rw - tmpfs tmpfs rw",
        b"41 23 0:31 / /mnt rw - tmpfs  rw",
        b"42 23 0:32 / /odd\\011name rw - tmpfs none rw",
        b"not a mount",
        b"",
    ],
)
def test_another_mount_whatever_it_is_called_is_no_concern(tmp_path: Path, other: bytes) -> None:
    proc = tree(tmp_path, "0::/job", V2_MOUNT, {"job/cpu.max": "250000 100000"})
    mounts = proc / "mountinfo"
    mounts.write_bytes(other + b"\n" + mounts.read_bytes())
    assert cores.quota(proc) == 2.5
