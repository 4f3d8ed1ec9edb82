"""What Triton itself makes of the launches of both engines and of the draw, on a GPU that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from toymodels.kernels.on_gpu.availability import SWITCH


def test_a_kernel_is_compiled_once_a_form(tmp_path: Path) -> None:
    """However many models and samples there are, whatever the step, wherever a stretch begins: so that no bit can
    depend on these."""
    pytest.importorskip("triton", reason="Triton has wheels for Linux alone")
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "error"}
    command, root = [sys.executable, "-m", "tests.engines.gpu.launching"], Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    launches = [json.loads(line) for line in done.stdout.splitlines()]
    assert {each["compiled"] for each in launches} == {1}
    programs = [(each["kernel"], each["programs"]) for each in launches]
    whole = [[("train", models)] * 3 + [("judge", models)] for models in (1, 3)]
    tiles = 3  # of 64 samples, in 130
    shared_out = [[("part", models * tiles), ("step", models)] * 9 + [("judge", models)] for models in (1, 3)]
    drawn = [("fill_x", 2 * 3 * 2)] * 3  # two models, 40 features by sixteens, 300 samples by 256
    assert programs == [*whole[0], *shared_out[0], *whole[1], *shared_out[1], *drawn]
