"""Devices: which one ``--device auto`` means, and why, in a sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from toymodels.engines.registry import kinds_of
from toymodels.sweeps.execution.machines import Machine

DRIVER = Path("/proc/driver/nvidia/gpus")
"""where NVIDIA's driver lists its GPUs, on Linux, whether or not PyTorch can use them"""


@dataclass(frozen=True)
class ChosenDevice:
    """A device and the reason for it."""

    device: str
    why: str
    expected: bool = False
    """whether nobody wonders: a machine without a GPU trains on its CPU"""

    def __str__(self) -> str:
        return f"device {self.device}: {self.why}"


def automatic(recorded: Mapping[str, str], machines: Sequence[Machine], engine: str = "auto") -> ChosenDevice:
    """What ``auto`` means: the device of the run folder, where it has one, or else the best of those that train.

    That is CUDA where every one of them has it. Where some workers have, it is the CPU, which all have: none is refused
    or idle for what nobody asked for, and who would rather train on the GPUs is told how. Of a run folder that is
    finished, or that workers go on with, nobody need be asked: then there are no ``machines``. Where an ``engine`` is
    named that is for a CPU alone, that is the device.
    """
    best = "cuda" if all(machine.gpus for machine in machines) else "cpu"
    if device := recorded.get("device"):
        return ChosenDevice(device, "this run folder was begun on it", expected=not machines or device == best)
    if "cuda" not in kinds_of(engine):
        return ChosenDevice("cpu", f"the {engine} engine trains on no other", expected=best == "cpu")
    return _best_of(machines) if any(machine.worker for machine in machines) else best_here()


def _best_of(workers: Sequence[Machine]) -> ChosenDevice:
    """The best device that all of these workers have."""
    without = [machine.worker for machine in workers if not machine.gpus]
    shares = f"workers with a CUDA device: {len(workers) - len(without)} of {len(workers)}"
    if 0 < len(without) < len(workers):
        shares += (
            f", not {without[0]}; a run is on one kind of device: to have it on GPUs, stop such workers and choose "
            "--device cuda"
        )
    return ChosenDevice("cpu" if without else "cuda", shares, expected=len(without) == len(workers))


def best_here() -> ChosenDevice:
    """The best device of this machine."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        others = "" if count == 1 else f", one of {count}: --workers {count} trains on all of them"
        return ChosenDevice("cuda", f"{torch.cuda.get_device_name(0)}{others}")
    if not DRIVER.is_dir() or not any(DRIVER.iterdir()):
        return ChosenDevice("cpu", "there is no NVIDIA GPU", expected=True)
    if torch.version.cuda is None:
        return ChosenDevice("cpu", f"there is an NVIDIA GPU, but PyTorch {torch.__version__} is built without CUDA")
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return ChosenDevice("cpu", f"there is an NVIDIA GPU, but CUDA_VISIBLE_DEVICES is '{visible}'")
    return ChosenDevice(
        "cpu", f"there is an NVIDIA GPU, but PyTorch cannot use it: it needs a driver for CUDA {torch.version.cuda}"
    )
