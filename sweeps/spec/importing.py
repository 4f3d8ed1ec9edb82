"""Importing: the modules that code of one's own is in, found, imported and told apart by the digest of their source.

A module is looked for where Python finds its own packages, and then in folders that are named here: that of the sweep
file and the current one. A module in one of these is imported afresh where its source is not what this process has; one
from elsewhere that this process had before is refused where its source may be another by now. Nothing is ever imported
from a run folder.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import psutil

from toymodels.metrics.own import registering_nothing
from toymodels.sweeps.errors import SpecError

OF_RUN_FOLDERS = ("manifest.json", "packs", "tuning/manifest.json")
"""what a run folder has beside its sweep.toml"""


class CodeError(SpecError):
    """Code of one's own that cannot be found, imported or used."""


@dataclass(frozen=True)
class ModuleSource:
    """A module that was imported, where its source is, and the source's SHA-256."""

    module: ModuleType
    place: Path
    digest: str


_imported: dict[tuple[str, Path, str], ModuleSource] = {}
"""by the module's name, where its source is, and that source's digest"""
_current: dict[str, tuple[ModuleType, Path, str]] = {}
"""each top-level module as it was imported here last, where its source is, and that source's digest"""


def imported(name: str, folders: Sequence[str]) -> ModuleSource:
    """The module of this dotted name, imported. Raises `CodeError`."""
    top = name.partition(".")[0]
    place = _place(top, folders)
    digest = digest_of(place)
    if (name, place, digest) not in _imported:
        _imported[name, place, digest] = ModuleSource(_import(name, place, digest, folders), place, digest)
        if digest_of(place) != digest:
            raise CodeError(f"{place}: was changed while it was imported: run the same command again")
    return _imported[name, place, digest]


def digest_of(place: Path) -> str:
    """SHA-256 of a source file; of a package, of a line ``digest  path`` for each of its .py files, in their order."""
    try:
        if place.is_file():
            return hashlib.sha256(place.read_bytes()).hexdigest()
        files = sorted((path.relative_to(place).as_posix(), path) for path in _files(place))
        lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files]
    except OSError as error:
        raise CodeError(f"{error.filename or place}: cannot be read ({error.strerror})") from None
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def run_folder_of(place: Path) -> Path | None:
    """The run folder, or the beginning of one, that this is or is in; None of what is in none."""
    resolved = place.resolve()
    return next((folder for folder in (resolved, *resolved.parents) if _is_run_folder(folder)), None)


def _is_run_folder(folder: Path) -> bool:
    there = os.path.exists  # False where nobody may look
    return there(folder / "sweep.toml") and any(there(folder / name) for name in OF_RUN_FOLDERS)


def _files(place: Path) -> list[Path]:
    """The source files of a module: one, or those of a package."""
    return [place] if place.is_file() else list(place.rglob("*.py"))


def _place(top: str, folders: Sequence[str]) -> Path:
    """The file or the folder of the package that holds the source of a top-level module. Nothing is imported yet."""
    if top in sys.stdlib_module_names or top in ("toymodels", "__main__"):
        raise CodeError(f"{top}: is a module of {_owner(top)}: put code of your own into a module of another name")
    importlib.invalidate_caches()
    try:
        spec = PathFinder.find_spec(top, [*sys.path, *folders])
    except (OSError, ImportError, ValueError, UnicodeError) as error:
        raise CodeError(f"{top}: cannot be looked for ({error})") from None
    if spec is None:
        raise CodeError(f"{top}: no such module: neither installed nor in {' or '.join(folders) or 'any folder'}")
    place = _of_spec(spec)
    if place is None:
        raise CodeError(f"{top}: has no Python source whose digest could be kept")
    inside = run_folder_of(place)
    if inside is not None:
        raise CodeError(f"{place}: is in the run folder {inside}, from which nothing is imported: move it elsewhere")
    return place


def _owner(top: str) -> str:
    return {"toymodels": "this package", "__main__": "the running script or notebook"}.get(top, "Python itself")


def _of_spec(spec: ModuleSpec) -> Path | None:
    """Where the source of a top-level module is: a .py file or a folder; None of one that has none."""
    folders = list(spec.submodule_search_locations or ())
    if folders:
        return Path(folders[0])
    return Path(spec.origin) if spec.origin is not None and spec.origin.endswith(".py") else None


def _import(name: str, place: Path, digest: str, folders: Sequence[str]) -> ModuleType:
    top = name.partition(".")[0]
    before, (mine, *of) = sys.modules.get(top), _current.get(top, (None,))
    theirs = before is not None and before is not mine
    if before is not None and theirs and not _is_of(before, place):
        raise CodeError(f"{top}: this process has another module of that name: give yours ({place}) another")
    of_folders = place.resolve().parent in {Path(folder).resolve() for folder in folders}
    if theirs and not of_folders and _may_be_newer(place):
        raise CodeError(
            f"{top}: this process imported it already, and {place} was written since the process began, so that they "
            "may differ: begin another"
        )
    with _on_path(folders):
        if of_folders if theirs else of != [place, digest]:
            for each in [each for each in sys.modules if each == top or each.startswith(f"{top}.")]:
                del sys.modules[each]
        try:
            with registering_nothing():  # of its metrics a sweep has those measured that it names
                return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise CodeError(f"{name}: cannot be imported from {place} ({type(error).__name__}: {error})") from None
        finally:
            if top in sys.modules:
                _current[top] = sys.modules[top], place, digest


def _is_of(module: ModuleType, place: Path) -> bool:
    """Whether a module that was imported is that of this file or folder."""
    origin = getattr(module, "__file__", None)
    files = [origin] if origin is not None else [*getattr(module, "__path__", ())]
    resolved = place.resolve()
    return any(resolved in (Path(each).resolve(), Path(each).resolve().parent) for each in files)


def _may_be_newer(place: Path) -> bool:
    """Whether source was written since this process began, so that what it imported before may be of other source."""
    began = psutil.Process().create_time()
    return any(path.stat().st_ctime >= began for path in _files(place))


@contextmanager
def _on_path(folders: Sequence[str]) -> Iterator[None]:
    """While the block runs, modules are found in these folders too, after all others, in no run folder, and no bytecode
    is written: Python takes that for current where a source was changed within its second.
    """
    path, write = list(sys.path), sys.dont_write_bytecode
    sys.path[:] = [*(each for each in path if run_folder_of(Path(each)) is None), *folders]
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.path[:] = path
        sys.dont_write_bytecode = write
