"""Regular files: what is read of a run folder is no pipe and no device, and no larger than it can be.

What says what a folder is is no link either. Files that are verified by their digest, or can be made again, may be
links, as git-annex and DVC leave them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


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
