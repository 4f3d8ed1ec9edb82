"""Dask workers train on their share of the cores, whatever Dask, OMP and MKL were told: looked up where they train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import DOOR
from toymodels.sweeps.execution.cores import usable

pytestmark = pytest.mark.dask

TEXT = """
[features]
n = 8
density = 0.2
[model]
hidden = 2
[train]
steps = 10
batch = 1024
[eval]
samples = 512
[grid]
"model.activation" = ["relu", "gelu", "solu", "silu"]
"""
LOOK = """
import re, torch
from toymodels.sweeps.execution.job import Job
def finish(self, *trained, real=Job.finish):
    said = torch.__config__.parallel_info()
    pools = re.findall(r"(?:at::get_num|omp_get_max|mkl_get_max)_threads\\(\\) : (\\d+)", said)
    (self.store.path.parent / f"{self.pack.index}.threads").write_text(" ".join(pools))
    return real(self, *trained)
Job.finish = finish
"""
"""Writes down, in the thread that has trained a pack, how many threads torch, OMP and MKL use there."""
ONE_CORE = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); "
ENV = {**os.environ, "DASK_DISTRIBUTED__WORKER__PRELOAD": "look.py", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "look.py").write_text(LOOK)
    (tmp_path / "on.toml").write_text(TEXT)
    return tmp_path


@contextmanager
def dask(place: Path, *options: str) -> Iterator[str]:
    """A scheduler and a worker, as docs/CLUSTER.md begins them: the scheduler's address."""
    file = place / "scheduler.json"
    begin, host = [sys.executable, "-m", "dask"], ["--host", "127.0.0.1", "--no-dashboard"]
    quiet = {"cwd": place, "env": ENV, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen([*begin, "scheduler", *host, "--port", "0", "--scheduler-file", str(file)], **quiet)
    while not (file.exists() and file.read_text().endswith("}")):
        assert scheduler.poll() is None
        time.sleep(0.05)
    worker = subprocess.Popen([*begin, "worker", "--scheduler-file", str(file), *host, *options], **quiet)
    try:
        yield json.loads(file.read_text())["address"]
    finally:
        for process in (worker, scheduler):
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.wait()


def threads(place: Path, *options: str, code: str = DOOR) -> set[int]:
    """The numbers of threads on which the packs of a sweep were trained."""
    command = [sys.executable, "-c", code, "sweep", "on.toml", "--out", "run", "--engine", "autograd", *options]
    done = subprocess.run(command, cwd=place, env=ENV, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    looked = [path.read_text().split() for path in place.glob("*.threads")]
    assert len(looked) == 4
    return {int(number) for numbers in looked for number in numbers}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_here_share_the_cores(place: Path, workers: int) -> None:
    assert threads(place, "--workers", str(workers)) == {max(1, usable() // workers)}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks on this system")
def test_workers_here_share_the_cores_that_the_command_may_use(place: Path) -> None:
    assert threads(place, "--workers", "1", code=ONE_CORE + DOOR) == {1}


@pytest.mark.parametrize("given", [1, 2, 1000])
def test_a_worker_begun_by_hand_has_the_threads_it_was_given_at_most_its_cores(place: Path, given: int) -> None:
    with dask(place, "--nthreads", str(given)) as address:
        assert threads(place, "--scheduler", address) == {min(given, usable())}
