"""Compiled kernels: kept across processes, never stale, cleared on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import numpy as np
from toymodels.kernels import compiled, draw
out = np.zeros((1, 1, draw.whole_tiles(1)), np.uint32)
draw.fill_words(out, np.zeros(1, np.uint64), 0, 0, 0)
print(out[0, 0, 0], sum(draw.fill_words.stats.cache_hits.values()), compiled.FOLDER)
"""


def words(package: Path, cache: Path) -> tuple[int, int, str]:
    """In a new process: the first word of the stream, cache hits, and the cache folder."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=package, capture_output=True, text=True, check=True
    )
    word, hits, folder = done.stdout.split()
    return int(word), int(hits), folder


def test_a_kernel_is_kept_until_any_kernel_source_changes(tmp_path: Path) -> None:
    package, cache = tmp_path / "copy", tmp_path / "cache"
    shutil.copytree(ROOT / "toymodels", package / "toymodels", ignore=shutil.ignore_patterns("__pycache__"))
    first = words(package, cache)
    assert first[:2] == (0x6627E8D5, 0)  # Philox of all zeros (Salmon et al. 2011)
    assert words(package, cache)[:2] == (first[0], 1)

    # fill_words stands in draw.py; what it calls changes in another file, and so must the words.
    callee = package / "toymodels" / "kernels" / "vector.py"
    text = callee.read_text()
    changed = text.replace("builder.trunc(word, ", "builder.trunc(builder.not_(word), ")
    assert changed != text
    callee.write_text(changed)
    edited = words(package, cache)
    assert edited[:2] == (0x6627E8D5 ^ 0xFFFFFFFF, 0)
    assert edited[2] != first[2]

    callee.write_text(text)
    assert words(package, cache) == (first[0], 1, first[2])


def test_clearing_removes_every_version(tmp_path: Path) -> None:
    for name in ("kernels-0123", "kernels-4567"):
        (tmp_path / "toymodels" / name / "inside").mkdir(parents=True)
    (tmp_path / "toymodels" / "other").mkdir()
    program = "from toymodels.kernels import compiled; print(len(compiled.clear()))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2  # importing makes none
    assert [path.name for path in (tmp_path / "toymodels").iterdir()] == ["other"]


def test_where_nothing_can_be_kept_kernels_still_run(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert words(ROOT, blocked)[:2] == (0x6627E8D5, 0)
