"""Packs trained by Dask workers: real schedulers and workers, killed, stopped, poisoned and out of date."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import psutil
import pytest
import torch
from distributed import Client

from tests.conftest import IN_FRONT
from toymodels.sweeps.console.looking import Watcher
from toymodels.sweeps.execution.job import Finished, Job
from toymodels.sweeps.execution.processes import local_cluster
from toymodels.sweeps.execution.workers import carry_out, order_of, public
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.store.manifest import of_bytes, versions
from toymodels.sweeps.store.store import Store

pytestmark = pytest.mark.dask

TEXT = """
question = "on workers?"
[features]
n = 32
density = 0.1
[model]
hidden = 8
[train]
steps = 600
batch = 256
[eval]
samples = 1024
[grid]
"model.activation" = ["relu", "gelu", "solu"]
"model.layer_norm" = [false, true]
seed = { range = [0, 12] }
"""
"""72 models in six packs of some seconds on the autograd engine"""
SWEEP = ["sweep", "on.toml", "--engine", "autograd", "--out"]
POISON = """
import os
from toymodels.sweeps.execution.job import Job
def finish(self, *trained, real=Job.finish):
    if self.pack.index == 2:
        os.kill(os.getpid(), 9)
    return real(self, *trained)
Job.finish = finish
"""
OUT_OF_DATE = """
import distributed.versions, importlib.metadata as metadata
real = metadata.version
distributed.versions.version = metadata.version = lambda name, real=real: "1.0.0" if name == "torch" else real(name)
distributed.versions._version_cached.cache_clear()
"""
OFTEN = f"""
from toymodels.sweeps.console import progress
from toymodels.sweeps.execution import dask, heartbeat
progress.SECONDS_BETWEEN_LINES = heartbeat.SECONDS = dask.TICK_SECONDS = 0.1
{IN_FRONT}
"""
"""the command, which hears of its packs, and tells of them, ten times a second"""
ENV = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
}


def until(said: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not said():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def packs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "packs").iterdir())}


def stored(folder: Path) -> bool:
    """Whether a first pack is there."""
    return any((folder / "packs").glob("*.safetensors"))


def spawned(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The worker processes that a client began."""
    return [child for child in psutil.Process(process.pid).children(recursive=True) if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False  # it has ended meanwhile


def training(worker: psutil.Process) -> bool:
    """Whether a worker is beyond its imports: it has trained for a second or so."""
    try:
        return worker.cpu_times().user > 4
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sweep and its packs as this process trains them."""
    place = tmp_path_factory.mktemp("cluster")
    (place / "on.toml").write_text(TEXT)
    subprocess.run(
        [sys.executable, "-c", IN_FRONT, *SWEEP, "alone"], cwd=place, env=ENV, check=True, capture_output=True
    )
    assert len(packs(place / "alone")) == 6
    return place


def began(place: Path, name: str, *options: str, code: str = IN_FRONT, **env: str) -> subprocess.Popen[str]:
    """A sweep on its way, in a session of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *SWEEP, name, *options],
        cwd=place,
        env=ENV | env,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@contextmanager
def dask(
    place: Path, name: str, workers: int, *options: str, **env: str
) -> Iterator[tuple[str, subprocess.Popen, list]]:
    """A scheduler and workers, as one would start them by hand: address, scheduler, workers."""
    file = place / f"{name}.json"
    common = {"cwd": place, "env": ENV | env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begin = [sys.executable, "-m", "dask"]
    host = ["--host", "127.0.0.1", "--no-dashboard"]
    scheduler = subprocess.Popen([*begin, "scheduler", *host, "--port", "0", "--scheduler-file", str(file)], **common)
    until(file.exists)
    until(lambda: file.read_text().endswith("}"))
    command = [*begin, "worker", "--scheduler-file", str(file), "--nthreads", "1", *host, *options]
    began = [subprocess.Popen(command, **common) for _ in range(workers)]
    try:
        yield json.loads(file.read_text())["address"], scheduler, began
    finally:
        for process in [*began, scheduler]:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.wait()


def test_workers_make_the_same_folder(place: Path) -> None:
    for workers in (1, 2, 4):
        done = began(place, f"by-{workers}", "--workers", str(workers))
        out, err = done.communicate(timeout=200)
        assert done.returncode == 0, err
        assert "Next: toymodels" in out
        assert packs(place / f"by-{workers}") == packs(place / "alone")
        for table in ("models", "features", "neurons"):
            file = f"{table}.parquet"
            assert (place / f"by-{workers}" / file).read_bytes() == (place / "alone" / file).read_bytes()


def test_progress_within_packs_is_heard_and_seen_from_outside(place: Path) -> None:
    """One pack of some seconds, which one worker trains: progress comes long before the pack does."""
    (place / "often.py").write_text("from toymodels.sweeps.execution import workers\nworkers.TELLS_SECONDS = 0.1\n")
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(place / "often.py")])}
    options = ("--workers", "1", "--set", "model.activation=relu", "--set", "model.layer_norm=false")
    running = began(place, "within", *options, code=OFTEN, **preload)
    watcher, shares = Watcher(place / "within"), set[float]()

    def half_way() -> bool:
        look = watcher.look()
        assert look is None or not look.standing.packs_done, "too late"
        shares.update({look.share} if look else {})
        return max(shares, default=0.0) > 0.5

    until(half_way, seconds=180)
    _, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    assert len(shares) > 3
    done = [int(line.split()[0]) for line in err.splitlines() if re.match(r"\d+ of 12 models", line)]
    assert done == sorted(done)
    assert len(set(done) - {0, 12}) > 2
    last = watcher.look()
    assert last is not None
    assert (last.share, last.exit_code) == (1.0, 0)


def test_a_killed_worker_costs_a_sentence(place: Path) -> None:
    running = began(place, "killed", "--workers", "2")
    until(lambda: stored(place / "killed"))  # then each worker has a pack of those that are left
    spawned(running)[0].kill()
    _, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    lost = [line for line in err.splitlines() if "was lost with pack" in line]
    assert len(lost) == 1, err
    assert "distributed" not in err
    assert packs(place / "killed") == packs(place / "alone")


def test_a_pack_that_kills_its_workers_is_given_up_after_two(place: Path) -> None:
    (place / "poison.py").write_text(POISON)
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": json.dumps([str(place / "poison.py")])}
    running = began(place, "poisoned", "--workers", "2", **preload)
    _, err = running.communicate(timeout=200)
    assert running.returncode == 3, err
    assert "pack 2" in err
    assert "2 workers died with it" in err
    others = {name: data for name, data in packs(place / "alone").items() if name != "00000002.safetensors"}
    assert packs(place / "poisoned") == others
    again = began(place, "poisoned")
    assert "failed 2 times and is left out" in again.communicate(timeout=100)[1]
    assert again.returncode == 3
    healed = began(place, "poisoned", "--retry-failed")
    healed.communicate(timeout=100)
    assert healed.returncode == 0
    assert packs(place / "poisoned") == packs(place / "alone")


def test_a_pack_that_kills_its_worker_takes_no_other_with_it(place: Path) -> None:
    """A worker that was given four threads trains one pack at a time: none waits there to be blamed.

    Its threads are on one core, as those of other tests are, so as not to fight for two.
    """
    (place / "poison.py").write_text(POISON + "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n")
    with dask(place, "blame", 1, "--nthreads", "4", "--preload", str(place / "poison.py")) as (address, _, _):
        _, err = (running := began(place, "blame", "--scheduler", address)).communicate(timeout=200)
    assert running.returncode == 3, err
    assert [line for line in err.splitlines() if "died with it" in line] == [
        "pack 2 (models 24 to 35) failed: 2 workers died with it"
    ]
    others = {name: data for name, data in packs(place / "alone").items() if name != "00000002.safetensors"}
    assert packs(place / "blame") == others


def test_without_any_worker_left_it_ends_and_says_so(place: Path) -> None:
    impatient = "from toymodels.sweeps.execution import dask; dask.PATIENCE_SECONDS = 4; " + IN_FRONT
    with dask(place, "none", 1, "--no-nanny") as (address, _, workers):
        running = began(place, "none", "--scheduler", address, code=impatient)
        until(lambda: (place / "none" / "packs").is_dir() and packs(place / "none"))
        workers[0].kill()
        _, err = running.communicate(timeout=30)
    assert running.returncode == 1, err
    assert "no worker is left" in err
    assert "run the same command again" in err
    assert "Traceback" not in err


def test_a_stopped_worker_is_given_up_after_its_time_to_live(place: Path) -> None:
    running = began(place, "stopped", "--workers", "2", DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL="12s")
    until(lambda: stored(place / "stopped"))  # then each worker has a pack of those that are left
    spawned(running)[0].send_signal(signal.SIGSTOP)
    _, err = running.communicate(timeout=200)
    assert running.returncode == 0, err
    assert "was lost with pack" in err
    assert packs(place / "stopped") == packs(place / "alone")


def test_a_killed_client_leaves_no_orphans(place: Path) -> None:
    running = began(place, "orphans", "--workers", "2")
    until(lambda: any(training(worker) for worker in spawned(running)))
    workers = spawned(running)
    running.kill()
    running.communicate()
    gone, alive = psutil.wait_procs(workers, timeout=5)
    assert (len(gone), alive) == (2, [])
    again = began(place, "orphans", "--workers", "2")
    assert again.wait(timeout=200) == 0
    assert packs(place / "orphans") == packs(place / "alone")
    assert not list((place / "orphans").rglob(".writing-*"))


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_client_stops_cleanly(place: Path, number: int, code: int) -> None:
    """Sent to the whole group, as a terminal does."""
    running = began(place, f"interrupted-{code}", "--workers", "2")
    until(lambda: any(training(worker) for worker in spawned(running)))
    workers = spawned(running)
    os.killpg(running.pid, number)
    _, err = running.communicate(timeout=30)
    assert running.returncode == code, err
    assert "To continue: toymodels sweep" in err
    assert "Traceback" not in err
    assert psutil.wait_procs(workers, timeout=5)[1] == []
    assert began(place, f"interrupted-{code}").wait(timeout=100) == 0
    assert packs(place / f"interrupted-{code}") == packs(place / "alone")


def test_a_lost_scheduler_is_said_at_once_and_the_same_command_goes_on(place: Path) -> None:
    with dask(place, "lost", 1) as (address, scheduler, _):
        running = began(place, "lost", "--scheduler", address)
        until(lambda: (place / "lost" / "packs").is_dir() and packs(place / "lost"))
        scheduler.kill()
        begin = time.monotonic()
        _, err = running.communicate(timeout=30)
        assert time.monotonic() - begin < 5
        assert running.returncode == 1, err
        assert "scheduler is gone; what is finished is safe" in err
        assert "Traceback" not in err
    with dask(place, "found", 2) as (address, _, _):
        again = began(place, "lost", "--scheduler", address)
        _, err = again.communicate(timeout=200)
        assert again.returncode == 0, err
    assert packs(place / "lost") == packs(place / "alone")


def test_a_worker_with_other_versions_is_refused_before_anything_is_trained(place: Path) -> None:
    (place / "out_of_date.py").write_text(OUT_OF_DATE)
    with dask(place, "old", 1, "--preload", str(place / "out_of_date.py")) as (address, _, _):
        running = began(place, "old", "--scheduler", address)
        _, err = running.communicate(timeout=100)
    assert running.returncode == 2, err
    assert f"torch 1.0.0 there and {public(versions()['torch'])} here" in err
    assert not (place / "old").exists()


def test_a_pack_that_two_workers_make_at_once_is_one_whole_file(place: Path) -> None:
    plan = make_plan(parse(TEXT, "on", "on.toml"))
    store = Store.create_or_open(place / "twice", plan, "autograd", "cpu")
    order = order_of(Job.of(store, plan, plan.packs[0]), "autograd", "cpu", of_bytes())
    with ProcessPoolExecutor(2) as pool:
        both = list(pool.map(carry_out, [order, order]))
    store.release()
    assert both[0] == both[1]
    assert isinstance(both[0].ended, Finished)
    name = "00000000.safetensors"
    assert packs(store.path) == {name: packs(place / "alone")[name]}
    assert not list(store.path.rglob(".writing-*"))


def test_a_scheduler_that_is_not_there_is_named(place: Path) -> None:
    refused = began(place, "nobody", "--scheduler", "tcp://127.0.0.1:9")
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in err
    assert "Traceback" not in err


def test_on_cuda_every_worker_sees_one_gpu_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with local_cluster(3, "cuda") as cluster, Client(cluster) as client:
        seen = cast("dict[str, str]", client.run(os.getenv, "CUDA_VISIBLE_DEVICES"))
    assert sorted(seen.values()) == ["2", "2", "GPU-5"]
