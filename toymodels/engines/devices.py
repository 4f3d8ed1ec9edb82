"""Devices: the words for where models are trained, and whether that is there, in sentences."""

from __future__ import annotations

import torch

DEVICES = ("cpu", "cuda")
"""the kinds of device"""


def misnamed(device: str) -> str | None:
    """Why this word names no device, in a sentence with what may be asked for; None where it names one, there or not.

    One CUDA device of several is named by its number, "cuda:1".
    """
    kind, colon, number = device.partition(":")
    numbered = kind == "cuda" and number.isascii() and number.isdecimal()
    if numbered if colon else kind in DEVICES:
        return None
    return f"expected auto, {', '.join(DEVICES)} or a numbered one such as cuda:1, got '{device}'"


def absent(device: str, gpus: int, whose: str = "this machine") -> str | None:
    """That a machine with so many CUDA devices lacks the one named, in a sentence; None if it has it."""
    kind, _, number = device.partition(":")
    if kind != "cuda" or (gpus and int(number or 0) < gpus):
        return None
    if not gpus:
        return f"{whose} has no CUDA device that torch can use"
    those = "one CUDA device, cuda:0" if gpus == 1 else f"{gpus} CUDA devices, cuda:0 to cuda:{gpus - 1}"
    return f"{whose} has {those}, got '{device}'"


def gpus_here() -> int:
    """How many CUDA devices torch can use here."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def best_for(kinds: tuple[str, ...]) -> str:
    """What "auto" means on this machine for an engine of these kinds of device: CUDA where torch can use it and the
    engine is not for a CPU alone, else the CPU."""
    return "cuda" if "cuda" in kinds and gpus_here() else "cpu"
