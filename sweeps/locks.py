"""Locks: who may write into a run folder. The kernel holds them for a process, and lets go however that ends.

    .lock           exclusive for an unsharded sweep and for rebuilding, shared by the shards of one
    .lock-I-of-N    exclusive for shard I/N
    .lock-begin     exclusive, for a moment, while locks are taken and while the folder is made or checked

Each file names its last holder, which means something only while it is locked.
"""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toymodels.sweeps.errors import FolderError, InUse, SpecError

PREFIX = ".lock"
PATIENCE = 5.0
"""seconds that a process waits for another to open the folder"""
GLANCE = 0.1
"""seconds that it tries for a lock: a reader who looks whether it is held holds it for an instant"""


@dataclass(frozen=True)
class Shard:
    """Every ``of``-th pack of a plan, beginning with pack ``index``."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, pack: int) -> bool:
        """Whether the pack of this number is one of its own."""
        return pack % self.of == self.index

    @staticmethod
    def parse(text: str) -> Shard:
        """``I/N``, counted from 0. Raises `SpecError`."""
        index, slash, of = text.partition("/")
        if slash and index.isdecimal() and of.isdecimal() and int(index) < int(of):
            return Shard(int(index), int(of))
        raise SpecError(f"--shard: expected I/N with I from 0 to N - 1, such as 0/3, got '{text}'")


class Lock:
    """What a process holds of a run folder: all of it, or one shard."""

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self.folder, self.shard = folder, shard
        self._held: list[int] = []

    def take(self) -> None:
        """Take it at once. Raises `FolderError` naming who has it."""
        try:
            with moment(self.folder):
                if self.shard is None:
                    self._take(PREFIX, fcntl.LOCK_EX)
                    return
                self._take(PREFIX, fcntl.LOCK_SH)
                others = [name for name in self._shards_held() if not name.endswith(f"-of-{self.shard.of}")]
                if others:
                    raise self._in_use(others)
                self._take(f"{PREFIX}-{self.shard.index}-of-{self.shard.of}", fcntl.LOCK_EX)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go."""
        while self._held:
            os.close(self._held.pop())

    def holders(self) -> list[str]:
        """Who holds the folder now, or shards of it: for a reader, who takes nothing."""
        names = self._shards_held() or ([PREFIX] if _is_held(self.folder / PREFIX) else [])
        return [_said(self.folder / name) for name in names]

    def _take(self, name: str, kind: int) -> None:
        descriptor = _opened(self.folder / name)
        if not _flock(descriptor, kind, GLANCE):
            os.close(descriptor)
            raise self._in_use((self._shards_held() if self.shard is None else []) or [name])
        self._held.append(descriptor)
        if kind == fcntl.LOCK_EX:
            shard = f", shard {self.shard}" if self.shard else ""
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}{shard}\n".encode())

    def _shards_held(self) -> list[str]:
        """The lock files of shards that somebody holds."""
        return [path.name for path in sorted(self.folder.glob(f"{PREFIX}-*-of-*")) if _is_held(path)]

    def _in_use(self, names: list[str]) -> InUse:
        holders = " and ".join(_said(self.folder / name) for name in names)
        return InUse(f"{self.folder}: in use by {holders}: wait for it, or choose another --out")


@contextmanager
def moment(folder: Path) -> Iterator[None]:
    """While locks are taken, and while a shard makes or checks the folder: one process at a time, for a moment.

    Raises `FolderError` where another process stays in it.
    """
    descriptor = _opened(folder / f"{PREFIX}-begin")
    try:
        if not _flock(descriptor, fcntl.LOCK_EX, PATIENCE):
            raise FolderError(f"{folder}: another process is opening it and does not go on: stop that one first")
        yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int, kind: int, patience: float) -> bool:
    """Lock it, trying for so many seconds; whether that went well."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)


def _is_held(path: Path) -> bool:
    """Whether somebody holds this lock; of a file that cannot be opened nobody knows."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise FolderError(f"{path}: cannot be opened ({error.strerror})") from None


def _said(path: Path) -> str:
    """Who a lock file names."""
    try:
        with path.open("rb") as file:
            return file.read(200).decode(errors="replace").strip() or "another process"
    except OSError:
        return "another process"
