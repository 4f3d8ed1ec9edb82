"""Machines: what those that train models have, as each says of itself: this machine, or the workers of a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from toymodels.engines import ENGINES
from toymodels.engines.devices import DEVICES, absent, gpus_here
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.store.manifest import of_bytes

COMPILED = ("gpu kernels", "triton")
"""what the fingerprint of an engine with kernels of its own for a GPU has of them and of what compiles them"""
ROUNDING = ("processor", "gpu")
"""of what packs are made with, where it is no version that could be installed: machines that differ are not refused"""


@dataclass(frozen=True)
class Machine:
    """A machine that is to train."""

    gpus: int
    """CUDA devices that its PyTorch can use"""
    lacking: Mapping[tuple[str, str], str]
    """what it lacks, in a sentence, to train by an engine on a kind of device; no entry where it lacks nothing"""
    worker: str = ""
    """the address of the Dask worker that says this, if it is one"""

    @staticmethod
    def here(worker: str = "") -> Machine:
        """The machine of this process."""
        asked = {(name, kind): engine.lacks(kind) for name, engine in ENGINES.items() for kind in DEVICES}
        return Machine(gpus_here(), {what: reason for what, reason in asked.items() if reason}, worker)

    def __str__(self) -> str:
        return f"the worker at {self.worker}" if self.worker else "this machine"

    def without_device(self, device: str) -> str | None:
        """That it has no such device, in a sentence; None if it has one."""
        return absent(device, self.gpus, str(self))

    def without_engine(self, engine: str, device: str) -> str | None:
        """What it lacks for the engine, given the device, in a sentence; None if nothing."""
        reason = self.lacking.get((engine, kind_of(device)))
        return f"{self}: {reason}" if reason and self.worker else reason

    def cannot(self, engine: str, device: str) -> str | None:
        """Why it cannot train by the engine on the device, in a sentence; None if it can."""
        return self.without_device(device) or self.without_engine(engine, device)


def check_here(engine: str, device: str, folder: Path) -> None:
    """Raise `SpecError` where this machine is to train packs of a run folder and cannot.

    It was asked nothing where the run seemed finished, and then a pack turned out to be damaged.
    """
    if reason := Machine.here().cannot(engine, device):
        raise SpecError(
            f"{reason}; packs of {folder} must be trained by engine {engine} on {device}: run the same command on a "
            "machine that can"
        )


def on_gpu(engine: str, device: str) -> dict[str, str]:
    """What the bytes of a pack depend on, beside `of_bytes`, where this process trains it by the engine on a GPU: the
    GPU's name, and the kernels and compiler of an engine that has some. Nothing on a CPU."""
    if kind_of(device) != "cuda":
        return {}
    said = ENGINES[engine].fingerprint()
    return {name: said[name] for name in COMPILED if name in said} | {"gpu": torch.cuda.get_device_name(device)}


def made_with(engine: str, device: str) -> dict[str, str]:
    """All that the bytes of a pack depend on beside its plan, where this process trains it by the engine there."""
    return of_bytes() | on_gpu(engine, device)


def kind_of(device: str) -> str:
    """``cuda`` of ``cuda:1``: what a run folder records, as the number changes nothing."""
    return device.partition(":")[0]
