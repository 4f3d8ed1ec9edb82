"""Availability: whether Triton can run here, told before it is imported."""

from __future__ import annotations

import os
import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

SWITCH = "TRITON_INTERPRET"
"""the environment variable with which Triton interprets kernels on the CPU; it is heard when Triton is imported"""


def interpreted() -> bool:
    """Whether kernels are interpreted on the CPU, for tests."""
    return os.environ.get(SWITCH) == "1"


def lacking(device: str, what: str = "a kernel in Triton") -> str | None:
    """Why ``what`` cannot run on a device, in a sentence; None if it can."""
    if interpreted():
        elsewhere = f"with {SWITCH}=1 {what} is interpreted on cpu, not run on {device}"
        return elsewhere if device != "cpu" else _without_triton(what)
    if not torch.cuda.is_available():
        return f"{what} runs on a CUDA device, and this machine has none that torch can use"
    if device.partition(":")[0] != "cuda":
        return f'{what} runs on a CUDA device, not on {device}: choose device="cuda" (--device cuda)'
    return _without_triton(what) or _without_compiler(what)


def _without_triton(what: str) -> str | None:
    lacks = f"{what} needs Triton, which comes with PyTorch for CUDA: pip install triton"
    return lacks if find_spec("triton") is None else None


def _without_compiler(what: str) -> str | None:
    """Why nothing can be compiled here: Triton makes a small C module for every kernel, with Python's own header."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return f"{what} needs a C compiler for Triton, gcc or clang on the path or another named by CC"
    scheme = sysconfig.get_default_scheme()
    headers = sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]
    if not Path(headers, "Python.h").exists():
        return f"{what} needs Python.h for Triton, and {headers} has none: install Python's development files"
    return None


def triton_version() -> str:
    """Triton's version, or that there is none."""
    try:
        return version("triton")
    except PackageNotFoundError:
        return "not installed"
