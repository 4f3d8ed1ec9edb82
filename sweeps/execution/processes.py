"""Worker processes on this machine: begun with a scheduler in this process, and ending with it."""

from __future__ import annotations

import logging
import os
import signal
from multiprocessing import resource_tracker
from typing import Any

import psutil
import torch
from distributed import Nanny, Scheduler, SpecCluster
from distributed.utils import LoopRunner

from toymodels.sweeps.execution.cores import usable

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""how many threads a worker's libraries begin: Dask would say one, and they count where torch is not told otherwise"""


def local_cluster(workers: int, device: str) -> SpecCluster:
    """A scheduler in this process and worker processes on this machine, which end with it.

    On CUDA every worker sees one GPU, in turn; each has its share of the cores that this process may use.
    """
    gpus = visible_gpus() if device == "cuda" else []
    threads = max(1, usable() // workers)
    memory = int(psutil.virtual_memory().total / workers)

    def worker(index: int) -> dict[str, Any]:
        env = dict.fromkeys(POOLS, str(threads))
        env |= {"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}
        options = {"nthreads": threads, "memory_limit": memory, "env": env, "silence_logs": logging.CRITICAL}
        return {"cls": Nanny, "options": options | here}

    here = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": {"port": 0} | here}
    runner = LoopRunner()
    resource_tracker.ensure_running()  # or the first worker begins it, which would unblock what is blocked next
    # A terminal sends Ctrl-C to all of its processes. Workers inherit what the thread that begins them has blocked.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        runner.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return SpecCluster({index: worker(index) for index in range(workers)}, scheduler, loop=runner.loop)


def visible_gpus() -> list[str]:
    """The GPUs that this process can use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Of names that are given there CUDA takes those before the first that it does not know.
    """
    given, there = os.environ.get("CUDA_VISIBLE_DEVICES"), torch.cuda.device_count()
    return given.split(",")[:there] if given else [str(index) for index in range(there)]
