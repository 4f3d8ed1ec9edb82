"""Record all golden data anew: ``python -m tests.golden.record`` at the top of the repository."""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", TOYMODELS_TRACEBACK="")

import shutil
import tempfile
from pathlib import Path
from typing import Any

import toymodels

from . import planning, refusing, running, saying
from .text import DATA, as_text


def record() -> None:
    """Replace everything in ``data/`` but the sweeps, as the program of this repository has it."""
    here = Path(__file__).parents[2] / "toymodels" / "__init__.py"
    assert Path(str(toymodels.__file__)).samefile(here), f"{toymodels.__file__}: not the program of this repository"
    for name in ("written", "said"):
        shutil.rmtree(DATA / name, ignore_errors=True)
    _write("plans.json", planning.plans())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        running.run_all(folder)
        _write("made_on.json", running.made_on(folder))
        for name in running.RUNS:
            _record_run(folder / name)
    with tempfile.TemporaryDirectory() as scratch:
        for name, said in saying.say_all(Path(scratch)).items():
            _write(f"said/{name}.json", said)
    with tempfile.TemporaryDirectory() as scratch:
        _write("refusals.json", refusing.refuse_all(Path(scratch)))


def _record_run(run: Path) -> None:
    written = f"written/{run.name}"
    _write(f"{written}/tables.json", running.tables(run))
    _write(f"{written}/digests.json", running.digests(run))
    _write(f"{written}/manifest.json", running.manifest(run))
    for path in (*running.packs(run), *sorted(run.glob("sweep*.toml"))):
        target = DATA / written / path.relative_to(run)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _write(name: str, value: Any) -> None:
    path = DATA / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(as_text(value), encoding="utf-8")


if __name__ == "__main__":
    record()
