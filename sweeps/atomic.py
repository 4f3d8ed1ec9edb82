"""One atomic writer: a file is there whole, or not at all.

Temporary name in the same folder, fsync, rename, fsync of the folder: a kill at any moment leaves the old file or the
new one, and at worst a temporary, which `sweep_temporaries` removes.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PREFIX = ".writing-"


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file that becomes ``path`` when the block ends well. Otherwise nothing is left behind."""
    descriptor, name = tempfile.mkstemp(prefix=PREFIX, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


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


def sweep_temporaries(folder: Path) -> None:
    """Remove what an interrupted `write` left in ``folder``. Only the holder of the folder's lock may call this."""
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink(missing_ok=True)
