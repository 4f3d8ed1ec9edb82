"""Locks: who may write into a run folder. The kernel holds them for a process, and lets go however that ends.

    .lock           exclusive for an unsharded sweep and for rebuilding, shared by the shards of one
    .lock-I-of-N    exclusive for shard I/N
    .lock-begin     exclusive, for a moment, while locks are taken and while the folder is made or checked

Each file names its holder, and says how far that is, which means something only while it is locked. Who may not write
it holds it all the same, unnamed: see `toymodels.sweeps.store.rights`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from toymodels.sweeps.errors import FolderError, InUse, SpecError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.pulse import Pulse
from toymodels.sweeps.store.rights import share_file

PREFIX = ".lock"
PATIENCE = 5.0
"""seconds that a process waits for another to open the folder"""
GLANCE = 0.1
"""seconds that it tries for a lock: a reader who looks whether it is held holds it for an instant"""
MOST_BYTES = 512
"""of a lock file"""
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
"""what a file system answers that has no locks"""


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


@dataclass(frozen=True)
class Holder:
    """A process that holds a run folder, or a shard of it."""

    name: str
    pulse: Pulse | None = None
    """how far it is, if it trains and says so"""


class Lock:
    """What a process holds of a run folder: all of it, or one shard."""

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self.folder, self.shard = folder, shard
        self._held: list[tuple[int, bool]] = []
        """open files, and whether they name this process"""

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
        """Let go of what this process holds, and take its name out of the lock files."""
        while self._held:
            descriptor, named = self._held.pop()
            if named:
                _write(descriptor, "")  # the next holder may not be able to write its own name over this one
            os.close(descriptor)

    def say(self, pulse: Pulse) -> None:
        """Say in the lock file how far this process is, where it is named there."""
        for descriptor, named in self._held:
            if named:
                _write(descriptor, f"{self._name}\n{pulse}\n")
                with suppress(OSError):  # on a network no other machine may see it before
                    os.fdatasync(descriptor)

    def holders(self) -> list[Holder]:
        """Who holds the folder now, or shards of it: for a reader, who takes nothing."""
        names = self._shards_held() or ([PREFIX] if _is_held(self.folder / PREFIX) else [])
        return [_holder_in(self.folder / name) for name in names]

    @property
    def _name(self) -> str:
        shard = f", shard {self.shard}" if self.shard else ""
        return f"process {os.getpid()} on {platform.node()}{shard}"

    def _take(self, name: str, kind: int) -> None:
        descriptor = _opened(self.folder / name)
        try:
            if not _flock(descriptor, self.folder, kind, GLANCE):
                raise self._in_use((self._shards_held() if self.shard is None else []) or [name])
        except BaseException:
            os.close(descriptor)
            raise
        self._held.append((descriptor, kind == fcntl.LOCK_EX))
        if kind == fcntl.LOCK_EX:
            _write(descriptor, f"{self._name}\n")

    def _shards_held(self) -> list[str]:
        """The lock files of shards that somebody holds."""
        return [path.name for path in sorted(self.folder.glob(f"{PREFIX}-*-of-*")) if _is_held(path)]

    def _in_use(self, names: list[str]) -> InUse:
        holders = " and ".join(_holder_in(self.folder / name).name for name in names)
        return InUse(f"{self.folder}: in use by {holders}: wait for it, or choose another --out")


@contextmanager
def moment(folder: Path) -> Iterator[None]:
    """While locks are taken, and while a shard makes or checks the folder: one process at a time, for a moment.

    Raises `FolderError` where another process stays in it.
    """
    descriptor = _opened(folder / f"{PREFIX}-begin")
    try:
        if not _flock(descriptor, folder, fcntl.LOCK_EX, PATIENCE):
            raise FolderError(f"{folder}: another process is opening it and does not go on: stop that one first")
        yield
    finally:
        os.close(descriptor)


def _flock(descriptor: int, folder: Path, kind: int, patience: float) -> bool:
    """Lock a file of ``folder``, trying for so many seconds; whether that went well.

    Raises `FolderError` where it cannot be locked at all.
    """
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise FolderError(f"{folder}: cannot be locked ({error.strerror})") from None
            raise FolderError(
                f"{folder}: its file system has no locks ({error.strerror}), which whoever writes there needs: give "
                "--out a folder on a local disk, or mount this one with locks (NFS: version 4, or without nolock; "
                "Lustre: with flock)"
            ) from None


def _is_held(path: Path) -> bool:
    """Whether somebody holds this lock; of a file that cannot be opened, or locked, nobody knows."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _opened(path: Path) -> int:
    """A lock file, made if it is not there, and open for reading alone where this process may not write it.

    Raises `FolderError`.
    """
    end = time.monotonic() + GLANCE
    while True:
        try:
            descriptor = _open_or_make(path)
            break
        except FileExistsError:  # another process has made it just now
            continue
        except OSError as error:
            # Between being made and being shared, it is its maker's alone.
            if isinstance(error, PermissionError) and path.exists() and time.monotonic() < end:
                time.sleep(0.01)
                continue
            raise FolderError(f"{path}: cannot be opened ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FolderError(f"{path}: cannot be opened (not a regular file)")
    return descriptor


def _open_or_make(path: Path) -> int:
    always = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    for access in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, access | always)
        except PermissionError:
            if access == os.O_RDONLY:
                raise
        except FileNotFoundError:
            break
    # Never with O_CREAT alone: in a sticky folder Linux refuses that for a file that another user has made.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | always, 0o666)
    share_file(descriptor, path.parent)
    return descriptor


def _write(descriptor: int, text: str) -> None:
    """Make this what a lock file says. What holds is the lock, so that it cannot be written is no failure."""
    with suppress(OSError):
        os.pwrite(descriptor, text.encode(), 0)
        os.ftruncate(descriptor, len(text.encode()))  # last, as a reader may come between


def _holder_in(path: Path) -> Holder:
    """Who a lock file names: another process where that one is known to have ended, so that its name is an old one."""
    try:
        text = atomic.read(path, MOST_BYTES).decode(errors="replace").strip()
    except OSError:
        text = ""
    name, _, pulse = text.partition("\n")
    named = re.match(r"process (\d+) on (.*?)(, shard .*)?$", name)
    if not name or (named and named[2] == platform.node() and _ended(int(named[1]))):
        return Holder("another process")
    return Holder(name, Pulse.parse(pulse))


def _ended(process: int) -> bool:
    """Whether there is no process of this number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False
