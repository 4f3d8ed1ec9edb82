"""The build: setuptools, with an sdist that keeps the links of this tree, and files that are the same bytes every time.

An sdist is what git tracks, links as links (setuptools would put copies in their place), ``PKG-INFO``, and in a file
named ``SOURCE_DATE_EPOCH`` the time that all files are given: that of the variable of that name, or of the last commit.
Not all installers keep the times of what they unpack. A wheel is also built where git has no answer, as in an archive.
"""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

INFO, EPOCH = "PKG-INFO", "SOURCE_DATE_EPOCH"
NO_TIME = 315532800
"""1980-01-01, the earliest that a wheel can say: of a tree that nobody knows the time of"""
Settings = dict[str, Any] | None


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build the wheel; returns its name."""
    os.environ[EPOCH] = str(_epoch())
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build what an editable installation needs; returns its name."""
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings = None) -> str:
    """Build the sdist; returns its name."""
    with TemporaryDirectory() as folder:
        made = build_meta.prepare_metadata_for_build_wheel(folder, config_settings)
        info = Path(folder, made, "METADATA").read_bytes()
    name, epoch = made.removesuffix(".dist-info"), _epoch()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(map(Path, _tracked())):
            _add(tar, f"{name}/{path}", epoch, path)
        _add(tar, f"{name}/{INFO}", epoch, info)
        _add(tar, f"{name}/{EPOCH}", epoch, f"{epoch}\n".encode())
    Path(sdist_directory, f"{name}.tar.gz").write_bytes(gzip.compress(archive.getvalue(), mtime=epoch))
    return f"{name}.tar.gz"


def _add(tar: tarfile.TarFile, name: str, epoch: int, content: Path | bytes) -> None:
    """Add a file or a link, saying nothing of who packed it, when and with what rights."""
    member, data = tarfile.TarInfo(name), b""
    member.mtime, member.mode = epoch, 0o644
    if isinstance(content, bytes):
        data = content
    elif content.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(content.readlink())
    else:
        data, member.mode = content.read_bytes(), 0o755 if os.access(content, os.X_OK) else 0o644
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _tracked() -> list[str]:
    """The paths of the files and links that git tracks. Raises ``SystemExit`` in an unpacked sdist."""
    if Path(INFO).exists():
        raise SystemExit("an sdist is built from a git clone, not from an unpacked sdist")
    return [path for path in _git("ls-files", "-z").split("\0") if path]


def _epoch() -> int:
    """The time that all files are given, in seconds since 1970: of the first that says one."""
    if EPOCH in os.environ:
        return int(os.environ[EPOCH])
    unpacked = Path(EPOCH)
    if unpacked.exists():
        return int(unpacked.read_text(encoding="utf-8"))
    if Path(".git").exists():  # else git would answer for a repository around this tree
        with suppress(OSError, subprocess.CalledProcessError):  # no git, no commit, or a repository of someone else
            return int(_git("log", "-1", "--format=%ct"))
    return NO_TIME


def _git(*command: str) -> str:
    return subprocess.run(["git", *command], stdout=subprocess.PIPE, check=True, text=True).stdout
