"""Options: what is asked of a benchmark, held against what there is before anything is timed.

Whatever cannot be ends the program with exit code 2 and a sentence that has the choices.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from benchmarks.timing import RESULTS
from benchmarks.workload import WORKLOADS
from toymodels.engines import ENGINES
from toymodels.engines.devices import DEVICES
from toymodels.kernels.on_gpu.availability import SWITCH
from toymodels.sweeps.spec.wording import one_of


def of_a_device(description: str | None, minutes: float) -> ArgumentParser:
    """A parser of what every program has that times a device."""
    parser = ArgumentParser(description=description)
    parser.add_argument("--device", choices=DEVICES, default="cuda")
    parser.add_argument("--minutes", type=float, default=minutes, help="after which nothing more is begun")
    parser.add_argument("--tiny", action="store_true", help="sizes that any CPU finishes in seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


def check_device(parser: ArgumentParser, device: str) -> None:
    """End the program where a GPU is asked for and there is none."""
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: this machine has no GPU that torch can use: give --device cpu")


def check_engines(parser: ArgumentParser, engines: Iterable[str], device: str) -> None:
    """End the program where this machine lacks what one of these needs, or its code has nothing for the device."""
    few = WORKLOADS[0].experiments(0.1, 2)[:1]
    for engine in engines:
        if reason := ENGINES[engine].lacks(device) or ENGINES[engine].refuses(few, device):
            interpreted = device == "cpu" and "cuda" in ENGINES[engine].devices
            parser.error(f"--device {device}: {reason}{f': set {SWITCH}=1 to interpret it' * interpreted}")


def chosen(parser: ArgumentParser, option: str, given: str, choices: Iterable[str]) -> Sequence[str]:
    """The names that are ``given``, with commas between them, or none; ends the program at one that is no choice."""
    names, choices = [name.strip() for name in given.split(",") if name.strip()], list(dict.fromkeys(choices))
    for name in names:
        if name not in choices:
            parser.error(f"{option}: expected {one_of(choices)}, got '{name}'")
    return names


def workloads(parser: ArgumentParser, given: str) -> Sequence[str]:
    """The names of workloads in ``--only``; W6 has several."""
    return chosen(parser, "--only", given, (w.name.split()[0] for w in WORKLOADS))
