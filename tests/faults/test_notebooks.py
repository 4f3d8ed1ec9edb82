"""A notebook's kernel, a real one: it shows progress and a figure, and a stop in a sweep costs nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.conftest import BODY, door, listing

LONG = BODY.replace("steps = 30", "steps = 400_000") + '[grid]\n"model.activation" = ["relu", "solu"]\nseed = [0, 1]\n'
SECONDS = 120.0


class Kernel:
    """A kernel in a folder."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(self, cell: str, *, stop_when: str = "") -> list[tuple[str, dict[str, Any]]]:
        """What a cell says, message by message; with the stop button pressed once something of this is shown."""
        asked, said, end = self.client.execute(cell), [], time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "status" and content["execution_state"] == "idle":
                return said
            said.append((kind, content))
            if stop_when and stop_when in str(content):
                self.manager.interrupt_kernel()
                stop_when = ""
        raise AssertionError(f"not done in {SECONDS} s: {said}")


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    (tmp_path / "long.toml").write_text(LONG)
    manager = KernelManager(transport="ipc", ip=str(tmp_path / "socket"))
    assert manager.kernel_spec is not None
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, "OMP_NUM_THREADS": "1"})
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(SECONDS)
    yield Kernel(manager, client)
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
def test_a_stopped_cell_runs_again_to_the_commands_bytes(kernel: Kernel, tmp_path: Path) -> None:
    cell = "import toymodels as tm; run = tm.sweep('long.toml', out='run')"
    stopped = kernel.run(cell, stop_when="models/s")
    assert stopped[-1][0] == "error"
    assert stopped[-1][1]["ename"] == "KeyboardInterrupt"
    assert "interrupted; what is finished is safe in run: the same call continues it" in str(stopped)
    assert not (tmp_path / "run" / "models.parquet").exists()
    whole = kernel.run(cell)
    bars = [content["data"] for kind, content in whole if kind in ("display_data", "update_display_data")]
    assert "4 of 4 models" in bars[-1]["text/plain"]
    assert '<progress max="4" value="4.00">' in bars[-1]["text/html"]
    assert door("sweep", tmp_path / "long.toml", "--out", tmp_path / "by-command").code == 0
    assert listing(tmp_path / "run") == listing(tmp_path / "by-command")
    shown = kernel.run("tm.draw(run, 'tms_intro')")
    assert [kind for kind, content in shown if "image/png" in content.get("data", {})] == ["execute_result"]
    assert "<table>" in str(kernel.run("run"))
