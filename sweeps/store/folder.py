"""The run folder: what it is, as its manifest and its sweep files say.

    sweep.toml         the sweep as resolved, readable as a sweep file
    sweep-%04d.toml    once it was extended: its sweeps, oldest first; sweep.toml is then a copy of the newest
    manifest.json      see `toymodels.sweeps.store.manifest`: an extension happens when it is replaced

Only `begin`, `check_is` and `take_over_wording` write, and only for who holds the folder
(`toymodels.sweeps.store.locks`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from toymodels.sweeps.errors import DiskFull, FolderError, SpecError
from toymodels.sweeps.plan.extending import continued, extended, extends, refusal
from toymodels.sweeps.plan.plan import Plan, make_plan
from toymodels.sweeps.spec.absent import AbsentCode
from toymodels.sweeps.spec.code import Code
from toymodels.sweeps.spec.importing import CodeError
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.sweep import Sweep, parse
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.manifest import MAX_SWEEPS, NUMERICS, MadeWith, Manifest
from toymodels.sweeps.store.rights import make_inner_folder, unreadable

MOST_BYTES = 2**28
"""of a sweep file: ten million values spelled out"""
WORDING = ("question", "primary", "metrics")
"""what a sweep says that changes no model"""
TUNING = "tuning"
"""the run folder, inside that of a tuned sweep, of the sweep that tunes it"""
INSPECTED = "inspected"
"""what people have judged of a run's neurons (`toymodels.sweeps.studies.judgements`)"""
FOLDERS = ("packs", "measures", "unfinished", "failed", TUNING, INSPECTED)
"""what a run folder has in folders of their own"""


def worded_as(sweep: Sweep, other: Sweep) -> Sweep:
    """The models of ``sweep``, with the question, ``[primary]`` and metrics of the other, and named as that one is."""
    said = {name: getattr(other, name) for name in WORDING}
    return replace(sweep, **said, where=other.where)


class RunFolder:
    """A run folder, and the plan it is of."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.code: Code | None = None
        """what imports the code of one's own that its sweep names; None where nothing is to be imported"""
        self._manifest: Manifest | None = None

    @property
    def manifest_path(self) -> Path:
        """The path of the file that holds the folder's manifest."""
        return self.path / "manifest.json"

    @property
    def begun(self) -> bool:
        """Whether a manifest is there, whatever it is. Raises `FolderError` where nobody may look, or no such name can
        be.
        """
        try:
            self.manifest_path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise FolderError(f"{self.path}: cannot be opened ({error.strerror}): name another folder") from None
        return True

    @property
    def manifest(self) -> Manifest:
        """The manifest, read once, and again when the folder is locked: only who holds it may replace it.

        Raises `FolderError` where there is none, a newer or damaged one, or a link inside.
        """
        if self._manifest is None:
            self.check_links()
            self._manifest = Manifest.read(self.manifest_path)
        return self._manifest

    def check_links(self) -> None:
        """Raise `FolderError` where a folder inside is a link."""
        linked = next((self.path / name for name in FOLDERS if (self.path / name).is_symlink()), None)
        if linked:
            raise FolderError(f"{linked}: is a link: put the folder itself there, or link the whole run folder")

    def sweep_text(self) -> str:
        """The sweep that this folder holds, its newest, as resolved. Raises `FolderError` where its file is damaged."""
        return self._text(self.manifest.sweep_files[-1])

    def sweep(self) -> Sweep:
        """The sweep that this folder holds, its newest. Raises `FolderError` where its file is damaged."""
        return self._sweep(self.manifest.sweep_files[-1])

    def plan(self) -> Plan:
        """The plan that this folder holds. Raises `FolderError` where its sweep files are not what made the folder."""
        first, *others = names = self.manifest.sweep_files
        plan = self._planned(first)
        for name in others:
            plan = extended(plan, self._planned(name)) or plan  # one that cannot be shows in the hash
        self.check_code(plan.sweep.code)
        if plan.hash != self.manifest.plan:
            files = ", ".join(str(self.path / name) for name in names)
            raise FolderError(f"{files}: not the sweep that made this folder: put it back, or move the folder away")
        return plan

    def plan_for(self, sweep: Sweep, extend: bool = False) -> Plan:
        """The plan of this sweep in this folder, whether or not that exists: with ``extend``, that of the folder with
        what it has not got appended. A plan that the folder cannot follow is refused by `create_or_open`.
        """
        plan = make_plan(sweep)
        if not self.begun or plan.hash == self.manifest.plan or not (extend or self.manifest.sweeps):
            return plan
        going_on = continued(self.plan(), plan, extend)
        return replace(going_on, sweep=replace(worded_as(going_on.sweep, sweep), code=sweep.code))

    def version_changes(self, now: Mapping[str, str]) -> list[str]:
        """A sentence for all with which packs are made ``now`` that is not what the folder was begun with: they may
        differ in rounding."""
        begun = {**dict.fromkeys(now, "unknown"), **self.manifest.versions}
        return [
            f"{self.path}: begun with {name} {begun[name]}, now {now[name]}: packs may differ in rounding"
            for name in now
            if begun[name] != now[name]
        ]

    def begin(self, plan: Plan, engine: str, device: str, made_with: MadeWith = None) -> None:
        """Make this the folder of ``plan``; its manifest says with what packs are made."""
        if any((self.path / "packs").iterdir()):
            raise FolderError(f"{self.path}: holds packs but no manifest.json: choose another --out")
        atomic.write(self.path / "sweep.toml", resolved_toml(plan.sweep).encode())
        begun = Manifest.begun(plan, engine, device, made_with)
        atomic.write(self.manifest_path, begun.to_bytes())
        self._manifest = begun

    def check_is(self, plan: Plan, engine: str, device: str, may_extend: bool) -> None:
        """Refuse a plan that is not this folder's; make the folder that of a plan that was made to extend it."""
        said = self.manifest
        as_written = said.plan == plan.hash and self.sweep_text() == resolved_toml(plan.sweep)
        self.check_code(plan.sweep.code)
        mine = plan if as_written else self.plan()
        more = may_extend and extends(plan, mine)
        if mine.hash != plan.hash and not more:
            newest = self.path / said.sweep_files[-1]
            raise FolderError(f"{self.path}: {refusal(mine, plan, newest, self.path)}")
        for name, now in (("engine", engine), ("device", device), ("numerics", NUMERICS)):
            if (made := getattr(said, name)) != now:
                raise FolderError(
                    f"{self.path}: was made with {name} {made}, now {now}: its packs would not be "
                    "comparable; give --out another folder"
                )
        if more:
            self._extend(mine, plan)
        if may_extend and len(plan.starts) > 1:
            self._put_back()

    def check_code(self, code: Code) -> None:
        """Raise `FolderError` where models would be made of other source than those that are there."""
        for module, (made, now) in self.manifest.other_source(code).items():
            if module in code.of_models and module in self.manifest.code:
                raise FolderError(
                    f"{self.path}: its models were made with other source of {module}: SHA-256 {made}, now {now}: put "
                    "that source back, or give --out another folder"
                )

    def take_over_code(self, code: Code, may_write: bool) -> str:
        """Put into the manifest the source that its metrics now have, on which no model depends.

        Returns a sentence that says so; empty where nothing differs, or where this process may not write.
        """
        other = self.manifest.other_source(code)
        if not other or not may_write:
            return ""
        changed = replace(self.manifest, code={**self.manifest.code, **{name: now for name, (_, now) in other.items()}})
        self.write_bytes(self.manifest_path, changed.to_bytes())
        self._manifest = changed
        return f"{self.path}: takes over the source of {', '.join(other)}; its models are the same"

    def take_over_wording(self, sweep: Sweep, may_write: bool) -> str:
        """Make what changes no model, the question and ``[primary]``, those of a sweep of this folder's models.

        Returns a sentence that says so, or, unless this process ``may_write`` the folder's files, why it was not done;
        empty where nothing differs.
        """
        if self.sweep_text() == resolved_toml(sweep):
            return ""
        mine = self.sweep()
        differing = [name for name in WORDING if getattr(mine, name) != getattr(sweep, name)]
        if not differing:
            return ""
        what = " and ".join(differing)
        if not may_write:
            return f"{self.path}: keeps its own {what}: the sweep without --shard takes over those of {sweep.where}"
        text = resolved_toml(worded_as(mine, sweep)).encode()
        for name in dict.fromkeys((self.manifest.sweep_files[-1], "sweep.toml")):
            self.write_bytes(self.path / name, text)
        said = f"{self.path}: takes over {what} from {sweep.where}; its models are the same"
        judged = self.path / "verdicts.json"
        if "primary" in differing and judged.is_file():
            judged.unlink()  # of another primary regime; derived, like all that a verdict writes
            said += f"; its verdict was of another primary regime: 'toymodels verdict {self.path}' judges anew"
        return said

    def _extend(self, old: Plan, plan: Plan) -> None:
        """Make this the folder of ``plan``, at the moment when the manifest is replaced."""
        longer = self.manifest.extended(plan)
        names = longer.sweep_files
        if len(names) > MAX_SWEEPS:
            raise FolderError(f"{self.path}: was extended {MAX_SWEEPS - 1} times: give --out another folder")
        if len(old.starts) == 1:
            self.write_bytes(self.path / names[0], resolved_toml(old.sweep).encode())
        self.write_bytes(self.path / names[-1], resolved_toml(plan.sweep).encode())
        self.write_bytes(self.manifest_path, longer.to_bytes())
        self._manifest = longer

    def _put_back(self) -> None:
        """Make ``sweep.toml`` of an extended folder a copy of its newest sweep again, whatever stands there."""
        path, newest = self.path / "sweep.toml", self.sweep_text().encode()
        if path.is_symlink() or not path.is_file() or path.read_bytes() != newest:
            self.write_bytes(path, newest)

    def _text(self, name: str) -> str:
        try:
            return atomic.read(self.path / name, MOST_BYTES).decode()
        except (FileNotFoundError, atomic.Irregular) as error:
            raise self._damaged(name, str(error.strerror)) from None
        except OSError as error:
            raise unreadable(self.path / name, error) from None
        except UnicodeDecodeError as error:
            raise self._damaged(name, str(error)) from None

    def _sweep(self, name: str) -> Sweep:
        try:
            sweep = parse(self._text(name), self.path.name, str(self.path / name))
            sweep = replace(sweep, code=self.code or AbsentCode(self.manifest.targets))
            sweep.settings(0)
        except SpecError as error:
            raise self._damaged(name, str(error)) from None
        return sweep

    def _planned(self, name: str) -> Plan:
        try:
            return make_plan(self._sweep(name))
        except CodeError as error:
            raise FolderError(str(error)) from None
        except SpecError as error:
            raise self._damaged(name, str(error)) from None

    def _damaged(self, name: str, reason: str) -> FolderError:
        return FolderError(f"{self.path / name}: damaged: put it back, or move the folder away ({reason})")

    def write_bytes(self, path: Path, data: bytes) -> None:
        """Write a file of this folder. Raises `DiskFull` as `writing` does."""
        with self._explained(path):
            atomic.write(path, data)

    @contextmanager
    def writing(self, path: Path) -> Iterator[IO[bytes]]:
        """A file of this folder that is there when the block ends well, or as it was before.

        A full or failing disk is a `DiskFull` that says what is safe.
        """
        with self._explained(path), atomic.writing(path) as file:
            yield file

    @contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            if path.parent != self.path:
                make_inner_folder(path.parent)
            yield
        except OSError as error:
            remedy = "make room and run" if error.errno in atomic.FULL else "run"
            raise DiskFull(
                f"{path}: cannot be written ({error.strerror}): everything finished is safe; {remedy} the same command "
                "again"
            ) from None
