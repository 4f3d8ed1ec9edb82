"""Measuring: on which device the models of a run folder are measured, and what is done where it has no room or is lost.

A sweep measures a pack where it has just trained it. Later they are measured on the kind of device that trained them,
where this process has one: of several GPUs on the first that it sees, whichever trained them (``CUDA_VISIBLE_DEVICES``
chooses). Elsewhere, and where its memory is too small, it is the CPU, from which what was measured differs by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from toymodels.engines.engine import OnNote, unheard
from toymodels.parameters import Parameters
from toymodels.sweeps.errors import GO_ON, DeviceLost
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store.manifest import Manifest
from toymodels.training.experiment import Experiment
from toymodels.training.memory import is_lost, is_out_of_memory

T = TypeVar("T")


def device_of(manifest: Manifest) -> str:
    """The device on which the models of a run folder are measured: "cuda", the first GPU that is seen, or "cpu"."""
    return "cuda" if manifest.device == "cuda" and torch.cuda.is_available() else "cpu"


def on(device: str, parameters: Parameters) -> Parameters:
    """The parameters on the device, in their own precision."""
    return parameters.to(device, parameters.W_in.dtype)


def where_it_fits(device: str, work: Callable[[str], T], what: str = "what is measured", say: OnNote = unheard) -> T:
    """What ``work`` makes on the device; on the CPU where the device's memory is too small for it, which is said."""
    try:
        return work(device)
    except RuntimeError as error:
        if device == "cpu" or not is_out_of_memory(error):
            raise
    torch.cuda.empty_cache()
    say(f"{what} did not fit in the memory of {device}: measured on the CPU")
    return work("cpu")


def where_trained(
    run: Run, models: Sequence[int], work: Callable[[list[Experiment], Parameters], T], say: OnNote = unheard
) -> T:
    """What ``work`` makes of these models of a run, of one structure, with their parameters on `device_of` its folder;
    or, where these have no room there, on the CPU, which is said."""
    experiments, parameters = run.batch(models)
    what = f"models {min(models)} to {max(models)}"
    return where_it_fits(device_of(run.manifest), lambda device: work(experiments, on(device, parameters)), what, say)


@contextmanager
def naming_the_lost(device: str) -> Iterator[None]:
    """Raise `DeviceLost`, a sentence, where the device is lost while the block runs."""
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        said = str(error).splitlines()[0].rstrip(".")
        raise DeviceLost(f"{device} no longer answers ({said}); {GO_ON}") from error
