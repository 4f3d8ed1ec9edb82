"""The doctor: what this machine and this installation are, for whoever wonders why something is slow, or missing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import psutil
import torch

from toymodels.engines import ENGINES
from toymodels.engines.devices import best_for
from toymodels.kernels import compiled, vector
from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import fail
from toymodels.sweeps.execution.cores import usable
from toymodels.sweeps.execution.devices import best_here

NEEDED = ("toymodels", "torch", "numpy", "scipy", "numba", "safetensors", "pyarrow", "pandas", "matplotlib")
OPTIONAL = {
    "distributed": "pip install 'toymodels[cluster]' for --workers and --scheduler",
    "transformer-lens": "pip install 'toymodels[transformers]' for measure-transformer",
    "triton": "it comes with PyTorch for CUDA; the gpu engines need it",
}


def examine() -> dict[str, str | int | float]:
    """Facts by name: versions, device, cores and threads, memory, disk, what each engine trains on here or lacks, and
    each optional part or how to get it."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in NEEDED},
        **{name: _version(name) or f"not installed: {remedy}" for name, remedy in OPTIONAL.items()},
        "device": ", ".join(gpus) or "cpu",
        "device auto": str(best_here()).removeprefix("device "),
        **{f"engine {name}": _where(name) for name in sorted(ENGINES)},
        "cores": os.cpu_count() or 1,
        "cores that may be used": usable(),
        "threads": min(torch.get_num_threads(), usable()),
        "samples at once": vector.LANES,
        "compiled kernels": compiled.whereabouts(),
        "memory available, GiB": round(psutil.virtual_memory().available / 2**30, 1),
        "disk free here, GiB": round(shutil.disk_usage(".").free / 2**30, 1),
        "files may be written here": "yes" if os.access(".", os.W_OK) else "no: choose another folder, or --out",
    }


def say_facts(as_json: bool) -> None:
    """Print what `examine` finds, a fact a line."""
    facts = examine()
    if as_json:
        documents.print_document(facts)
        return
    for name, fact in facts.items():
        print(f"{name:24} {fact}")


def say_cleared(as_json: bool) -> None:
    """Remove the compiled kernels of every version, and print the folders that they were in."""
    try:
        cleared = compiled.clear()
    except OSError as error:
        fail(f"{error.filename}: the compiled kernels there cannot be removed: {error.strerror}", 1)
    if as_json:
        documents.print_document(documents.of_cleared(cleared))
    else:
        print("\n".join(map(str, cleared)) or "nothing was kept")


def _where(name: str) -> str:
    """The kind of device that ``--device auto`` is for this engine here, or what it lacks to train there."""
    device = best_for(ENGINES[name].devices)
    lacks = ENGINES[name].lacks(device)
    return f"no: {lacks}" if lacks else device


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
