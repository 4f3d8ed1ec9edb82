"""Forks: a process forked after PyTorch has computed on several threads can compute.

GNU OpenMP, with which PyTorch shares work among threads, waits in a forked process for threads that only the parent
has, for ever. On one thread it waits for nobody. So children of a process that has computed here on several threads
start with one, which `torch.set_num_threads` may change; the fused engine's numbers are the same on any number.
"""

from __future__ import annotations

import os
from functools import cache

import torch


@cache
def one_thread_in_children() -> None:
    """From now on, children of this process compute on one thread; asked for again, nothing more."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
