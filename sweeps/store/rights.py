"""Rights: what several people share of one run folder.

A file has the rights that its writer's umask leaves it. What everybody who works on a run folder has to write into, the
folders inside it and its lock files, has the run folder's own rights instead, whoever makes it.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

from toymodels.sweeps.errors import DiskFull, FolderError, Unreadable
from toymodels.sweeps.store import atomic

READ_AND_WRITE = 0o666


def make_inner_folder(path: Path) -> None:
    """Make a folder inside a run folder unless it is there, with the rights of the run folder."""
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    with suppress(OSError):  # a file system may know no rights
        path.chmod(stat.S_IMODE(path.parent.stat().st_mode))


def share_file(descriptor: int, folder: Path) -> None:
    """Let whoever may read, or write into, ``folder`` do so with an open file that this process has made."""
    with suppress(OSError):
        os.fchmod(descriptor, stat.S_IMODE(folder.stat().st_mode) & READ_AND_WRITE)


def unreadable(path: Path, error: OSError) -> Unreadable:
    """What to say of a file that cannot be read, which is no reason to believe it damaged."""
    reason, remedy = error.strerror or error, "it is left as it is"
    if isinstance(error, PermissionError):
        remedy = f"it is {owner(path)}'s, who can let others read it"
    return Unreadable(f"{path}: cannot be read ({reason}): {remedy}")


def unwritable(path: Path, error: OSError) -> FolderError:
    """What to say of a file that could not be written: a disk that is full or fails is no refusal."""
    kind = DiskFull if error.errno in atomic.NOT_WRITTEN else FolderError
    return kind(f"{path}: cannot be written ({error.strerror or error})")


def owner(path: Path) -> str:
    """Whose file this is: a name, or a number that has none here."""
    try:
        number = path.stat().st_uid
    except OSError:
        return "another user"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
