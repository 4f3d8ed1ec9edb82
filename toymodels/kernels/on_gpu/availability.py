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


def lacking(device: str) -> str | None:
    """Why kernels cannot run on a device, in a sentence; None if they can."""
    if find_spec("triton") is None:
        return "the gpu engine needs Triton, which comes with PyTorch for CUDA: pip install triton"
    if interpreted():
        only = f"with {SWITCH}=1 the gpu engine is interpreted on cpu, not run on {device}"
        return None if device == "cpu" else only
    if device.partition(":")[0] != "cuda":
        return f"the gpu engine runs on a CUDA device, not on {device}"
    if not torch.cuda.is_available():
        return "the gpu engine runs on a CUDA device, and this machine has none that torch can use"
    return _without_compiler()


def _without_compiler() -> str | None:
    """Why nothing can be compiled here: Triton makes a small C module for every kernel, with Python's own header."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "the gpu engine needs a C compiler for Triton, gcc or clang on the path or another named by CC"
    scheme = sysconfig.get_default_scheme()
    headers = sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]
    if not Path(headers, "Python.h").exists():
        return f"the gpu engine needs Python.h for Triton, and {headers} has none: install Python's development files"
    return None


def triton_version() -> str:
    """Triton's version, or that there is none."""
    try:
        return version("triton")
    except PackageNotFoundError:
        return "not installed"
