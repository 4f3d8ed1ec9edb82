"""Files of a run folder: one atomic writer, which leaves a file whole or not at all, and one reader of regular files.

Temporary name in the same folder, fsync, rename, fsync of the folder: a kill at any moment leaves the old file or the
new one, and at worst a temporary, which `sweep_temporaries` removes. A file's rights are those that the kernel gives a
new one: the umask, or the folder's default access list, and the group that the folder's setgid bit passes on.

What is read is no pipe and no device, and no larger than it can be. What says what a folder is is no link either; files
that are verified by their digest, or can be made again, may be links, as git-annex and DVC leave them.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX = ".writing-"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""what a full disk answers, or one of which the user has had a full share"""
NOT_WRITTEN = (errno.EIO, *FULL)
"""what says that a folder's fsync went wrong; anything else says that this file system has none for folders"""


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file that becomes ``path`` when the block ends well. Otherwise nothing is left behind."""
    temporary = path.with_name(f"{PREFIX}{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last, where its file system can; raises ``OSError`` where the disk fails."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in NOT_WRITTEN:
            raise


def write(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``. Raises ``OSError`` and leaves nothing behind where that fails.

    Where the temporary is swept away meanwhile, by one who came to hold the folder, it is written again.
    """
    try:
        with writing(path) as file:
            file.write(data)
    except FileNotFoundError:
        with writing(path) as file:
            file.write(data)


def write_pair(path: Path, data: bytes, text_path: Path, text: bytes) -> None:
    """Replace a file and, in the same folder, the one that says what it is.

    Both are on the disk before either takes its name, so that what fails leaves the pair that was there. The data go
    before their text and come after it: a kill in between leaves no data, never those of one pair with the text of
    another. Raises ``OSError`` where they cannot be written, and leaves no temporary behind.
    """
    new, new_text = (path.with_name(f"{PREFIX}{secrets.token_hex(8)}") for _ in range(2))
    try:
        write(new, data)
        write(new_text, text)
        path.unlink(missing_ok=True)
        os.replace(new_text, text_path)
        os.replace(new, path)
    finally:
        for temporary in (new, new_text):
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sweep_temporaries(folder: Path) -> None:
    """Remove what an interrupted `write` left in ``folder``, but for what another user's rights keep there.

    Only the holder of the folder's lock may call this.
    """
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(PermissionError):
            path.unlink(missing_ok=True)


class Irregular(OSError):
    """Something else than a file of a sensible size."""


@contextmanager
def opened(path: Path, through_links: bool = False) -> Iterator[IO[bytes]]:
    """A regular file to read: no pipe is waited for, no device opened, and no link followed unless ``through_links``.

    Raises ``OSError``, whose ``strerror`` says why: `Irregular` for anything else, a link to nothing among it,
    ``FileNotFoundError`` if it is absent.
    """
    try:
        _check(path.stat(follow_symlinks=through_links))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if through_links else os.O_NOFOLLOW))
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise Irregular(None, "a link to nothing") from None
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Irregular(None, "a link") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(descriptor))  # of what was opened, which may be another one by now
        yield file


def read(path: Path, most_bytes: int | None = None, through_links: bool = False) -> bytes:
    """The bytes of a regular file. Raises as `opened`, and `Irregular` for more than ``most_bytes``."""
    with opened(path, through_links) as file:
        if most_bytes is not None and os.fstat(file.fileno()).st_size > most_bytes:
            raise Irregular(None, "larger than it can be")
        return file.read()


def _check(found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise Irregular(None, "a link")
    if not stat.S_ISREG(found.st_mode):
        raise Irregular(None, "not a regular file")
