"""Side by side: independent pieces of work in processes of their own, a core each, with results in their order.

Not threads: what is measured here is many small operations, between which Python holds its lock. Processes are begun
anew, not forked (see `toymodels.forks`). What they are given must be plain: names, numbers, arrays. What they return
may hold tensors, in containers and dataclasses: they come as arrays, as PyTorch would open a file for every tensor.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import numpy as np
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
        yield from map(unpacked, pool.map(partial(_packed_result, work), pieces))
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Array:
    """A tensor on its way."""

    values: np.ndarray


@dataclass(frozen=True)
class _Made:
    """A dataclass on its way: its type, and its fields."""

    kind: type
    fields: dict[str, Any]


def packed(value: Any) -> Any:
    """The value with every tensor in it as an array; see `unpacked`."""
    if isinstance(value, torch.Tensor):
        return _Array(value.numpy())
    if isinstance(value, Mapping):
        return {key: packed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(packed(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return _Made(type(value), {field.name: packed(getattr(value, field.name)) for field in fields(value)})
    return value


def unpacked(value: Any) -> Any:
    """What `packed` was given: equal, with mappings as dictionaries."""
    if isinstance(value, _Array):
        return torch.from_numpy(value.values)
    if isinstance(value, _Made):
        return value.kind(**{name: unpacked(each) for name, each in value.fields.items()})
    if isinstance(value, dict):
        return {key: unpacked(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(unpacked(each) for each in value)
    return value


def _packed_result(work: Callable[[Any], Any], piece: Any) -> Any:
    return packed(work(piece))


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
