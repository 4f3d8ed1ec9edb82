"""Side by side: independent pieces of work in processes of their own, a core each, with results in their order.

Not threads: what is measured here is many small operations, between which Python holds its lock. Processes are begun
anew, not forked (see `toymodels.forks`), so what they are given and return must be plain: names, numbers, arrays.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from threading import Thread
from typing import TypeVar

import torch

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def each(work: Callable[[Piece], Result], pieces: Sequence[Piece], processes: int | None = None) -> Iterator[Result]:
    """``work`` on each of the ``pieces``, in their order; in this process if ``processes`` is 1.

    As many processes as PyTorch is set to use threads, if None; ``work`` is a function of a module, not of a function.
    """
    processes = min(torch.get_num_threads() if processes is None else processes, len(pieces))
    if processes <= 1:
        yield from map(work, pieces)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield from pool.map(work, pieces)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """A process has one core, and ends with the one that began it: interrupted, without a word; killed, at once."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
