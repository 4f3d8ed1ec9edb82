"""Devices: which one ``--device auto`` means, and why, in a sentence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

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


def automatic(recorded: Mapping[str, str]) -> str:
    """What ``auto`` means: the device of the run folder, where it has one, or else CUDA where PyTorch can use it."""
    return recorded.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")


def why_automatic(recorded: Mapping[str, str]) -> ChosenDevice:
    """The same with its reason."""
    if device := recorded.get("device"):
        return ChosenDevice(device, "this run folder was begun on it", expected=device == automatic({}))
    return best_here()


def best_here() -> ChosenDevice:
    """The best device of this machine."""
    if automatic({}) == "cuda":
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
