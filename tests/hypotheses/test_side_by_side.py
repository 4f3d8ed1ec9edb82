"""Side by side: results in the order of the pieces, errors where they belong, and no process outlives its parent."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
import torch

from toymodels.hypotheses.side_by_side import each, packed, unpacked
from toymodels.metrics.tiers import Tier

ENDLESS = """
import time
from toymodels.hypotheses.side_by_side import each
if __name__ == "__main__":
    print("begun", flush=True)
    list(each(time.sleep, [600, 600], 2))
"""


@pytest.mark.parametrize("processes", [1, 2, None])
def test_results_are_in_the_order_of_the_pieces(processes):
    assert list(each(math.sqrt, [9, 4, 1, 16], processes)) == [3, 2, 1, 4]
    assert list(each(math.sqrt, [], processes)) == []


def test_processes_are_others_and_have_one_core_each():
    pids = set(each(_pid, [0, 1, 2], 2))
    assert os.getpid() not in pids
    assert set(each(_threads, [0, 1], 2)) == {1}


def _pid(_: int) -> int:
    return os.getpid()


def _threads(_: int) -> int:
    return torch.get_num_threads()


def test_an_error_in_a_process_is_one_here():
    with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
        list(each(math.sqrt, [1, -1, 4], 2))


@pytest.mark.kill
def test_processes_end_with_the_one_that_began_them(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    deadline = time.monotonic() + 60
    children: list[psutil.Process] = []
    while len(children) < 2 and time.monotonic() < deadline:
        children = [c for c in psutil.Process(parent.pid).children() if "spawn_main" in " ".join(c.cmdline())]
        time.sleep(0.2)
    time.sleep(8)  # until they are at work
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    for each_alive in alive:
        each_alive.kill()
    assert not alive


@dataclass(frozen=True)
class Held:
    name: str
    numbers: dict[Tier, torch.Tensor]
    array: np.ndarray


def square(k: int) -> Held:
    return Held(f"of {k}", {Tier.NEURON: torch.arange(k) ** 2}, np.full(2, k))


def same(one: Held, other: Held) -> bool:
    tensors = torch.equal(one.numbers[Tier.NEURON], other.numbers[Tier.NEURON])
    return one.name == other.name and tensors and bool((one.array == other.array).all())


def test_what_is_packed_is_unpacked_alike():
    value = [(square(3), {"a": torch.tensor(True)}, None, "text")]
    ((held, mapping, nothing, text),) = unpacked(packed(value))
    assert same(held, square(3))
    assert (mapping, nothing, text) == ({"a": torch.tensor(True)}, None, "text")
    assert isinstance(held.array, np.ndarray)


def test_processes_give_what_one_gives_in_the_order_of_the_pieces():
    alone, two = list(each(square, [5, 1, 3], 1)), list(each(square, [5, 1, 3], 2))
    assert all(same(one, other) for one, other in zip(alone, two, strict=True))
    assert [held.name for held in two] == ["of 5", "of 1", "of 3"]
