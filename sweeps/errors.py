"""The ways a sweep fails, each one sentence with its exit code."""

from __future__ import annotations

GO_ON = "what is finished is safe: run the same command again to continue"


class SweepError(Exception):
    """A failure the user can act on; ``exit_code`` is the process's."""

    exit_code = 1


class SpecError(SweepError):
    """A sweep file or an option that cannot be used."""

    exit_code = 2


class PacksFailed(SweepError):
    """A sweep, or its tuning, that is finished but for packs that could not be trained; the rest is in its folder."""

    exit_code = 3


class FolderError(SweepError):
    """A run folder that is refused: in use, another sweep's, newer, damaged, or not writable."""

    exit_code = 4


class Unreadable(FolderError):
    """A file of a run folder that may be whole but cannot be read, for lack of rights or by a failing disk."""


class InUse(FolderError):
    """A run folder, or a shard of it, that another process holds."""


class DiskFull(FolderError):
    """A run folder that cannot be written now: what is finished is safe, and the same command continues."""

    exit_code = 1


class DeviceLost(SweepError):
    """A GPU that no longer answers; the same command goes on from what is stored."""
