"""Regular files: what is read of a run folder is neither a link nor a pipe, and no larger than it can be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


class Irregular(OSError):
    """Something else than a file of a sensible size."""


def read(path: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a regular file: no link is followed, no pipe waited for.

    Raises ``OSError``, whose ``strerror`` says why: `Irregular` for anything else or more than ``most_bytes``,
    ``FileNotFoundError`` if it is absent.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Irregular(None, "a link") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Irregular(None, "not a regular file")
        if most_bytes is not None and found.st_size > most_bytes:
            raise Irregular(None, "larger than it can be")
        return file.read()
