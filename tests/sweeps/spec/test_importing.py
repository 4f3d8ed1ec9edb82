"""Modules of one's own: told apart by the source that they were imported from, and never of a run folder."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from toymodels.sweeps.spec.code import own_code
from toymodels.sweeps.spec.importing import CodeError, imported

NAMES = ("installed_module", "installed_package", "optional_dep")


@pytest.fixture(autouse=True)
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, in which another one is among those where Python has its packages."""
    (tmp_path / ".venv" / "site").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / ".venv" / "site")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in NAMES]:
        del sys.modules[name]


def written_before_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written until now is older than this process, as far as it can tell."""
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: time.time() + 1)


def test_what_was_imported_before_it_was_edited_does_not_pass_for_its_source(current: Path) -> None:
    place = current / ".venv" / "site" / "installed_module.py"
    place.write_text("X = 1")
    before = importlib.import_module("installed_module")
    place.write_text("X = 22")
    with pytest.raises(CodeError, match=r"installed_module: this process imported it already, and .* begin another"):
        imported("installed_module", own_code().folders)
    assert sys.modules["installed_module"] is before
    del sys.modules["installed_module"]
    assert imported("installed_module", own_code().folders).module.X == 22


@pytest.mark.parametrize("name", ["installed_module", "installed_package.inner"])
def test_what_python_has_is_not_imported_again_though_it_lies_below_the_current_folder(
    current: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site = current / ".venv" / "site"
    (site / "installed_package").mkdir()
    for place in ("installed_module.py", "installed_package/__init__.py", "installed_package/inner.py"):
        (site / place).write_text("class Kept: pass")
    before = importlib.import_module(name)
    written_before_the_process(monkeypatch)
    assert imported(name, own_code().folders).module is before


def test_nothing_that_a_module_imports_is_of_a_run_folder(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, packs = current / "run", current / "run" / "packs"
    packs.mkdir(parents=True)
    (run / "sweep.toml").touch()
    (packs / "optional_dep.py").write_text(f"open({str(current / 'ran')!r}, 'w')")
    (current / ".venv" / "site" / "installed_module.py").write_text("import optional_dep")
    (current / "link").symlink_to(packs)
    for folder in (packs, current / "link"):
        monkeypatch.chdir(folder)
        assert own_code(folder / "sweep.toml").folders == ()
        for path in (sys.path, [*sys.path, "", str(folder)]):
            monkeypatch.setattr(sys, "path", path)
            with pytest.raises(CodeError, match="No module named 'optional_dep'"):
                imported("installed_module", own_code().folders)
        with pytest.raises(CodeError, match=r"is in the run folder .*, from which nothing is imported: move it"):
            imported("optional_dep", ())
    assert not (current / "ran").exists()
