"""One form of a workload's kernel, compiled for a GPU that need not be there, in a process of its own.

    python -m benchmarks.compiled CAPABILITY WORKLOAD TILE WARPS

prints what the kernel takes, as JSON. The binary is in Triton's cache, where a process that launches it finds it. So
many can be compiled at once, and one that takes too long or breaks its compiler costs no more than itself.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.workload import WORKLOADS, Workload
from toymodels.engines.gpu.form import Form, form_of
from toymodels.engines.gpu.resources import compile_for, of_run
from toymodels.engines.gpu.run import GpuRun
from toymodels.kernels.on_gpu.availability import SWITCH
from toymodels.training.experiment import Experiment

SECONDS = 60.0
"""that a form may take to compile"""


def one(workload: Workload) -> Experiment:
    """A model of a workload."""
    (experiment,) = replace(workload, models=1).experiments(workload.densities[0], 2)
    return experiment


def formed(workload: Workload, tile: int, warps: int) -> Form:
    """The form of a workload's models with another tile and other warps."""
    return replace(form_of(one(workload)), tile=tile, warps=warps)


class NotCompiled(Exception):
    """A form that the compiler does not take, with its reason in a line."""


def compiled(workload: Workload, tile: int, warps: int, capability: int) -> dict[str, Any]:
    """What the training kernel of this form takes. Raises `NotCompiled`."""
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    command = [sys.executable, "-m", "benchmarks.compiled", str(capability), workload.name, str(tile), str(warps)]
    try:
        said = subprocess.run(
            command,
            cwd=Path(__file__).parents[1],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotCompiled(f"not in {SECONDS:g} s") from None
    if said.returncode == 0:
        return json.loads(said.stdout.splitlines()[-1])
    causes = re.findall(r"^[\w.]*Error: .*", said.stderr, re.MULTILINE)  # the first is what the others follow from
    raise NotCompiled(causes[0] if causes else f"exit code {said.returncode}")


def main(capability: int, name: str, tile: int, warps: int) -> None:
    """Compile one and say what it takes."""
    compile_for(capability)
    (workload,) = (w for w in WORKLOADS if w.name == name)
    run = GpuRun([one(workload)], "cpu")
    run.batch = replace(run.batch, form=formed(workload, tile, warps))
    print(json.dumps(asdict(of_run(run)["train"])))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
