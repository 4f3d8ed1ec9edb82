"""Verdicts as a run folder has them: what ``toymodels verdict`` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.rights import unreadable

VERDICT_SCHEMA = 3
"""The version of the form of ``verdicts.json``. Before 3 tiers came from response alignment, and the answer was ``two
tiers``, ``no`` or ``undetermined``."""


def read_verdicts(folder: Path, remedy: str) -> dict[str, Any]:
    """What ``verdicts.json`` of a folder holds. Raises `FolderError`, with the remedy, where there is none, or where
    another version of the verdict wrote it."""
    path = folder / "verdicts.json"
    try:
        held = json.loads(atomic.read(path, through_links=True))
        if held["schema"] != VERDICT_SCHEMA:
            raise FolderError(f"{path}: of another version of the verdict: {remedy}")
        return held
    except FileNotFoundError:
        raise FolderError(f"{path}: not there yet: {remedy}") from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise FolderError(f"{path}: damaged: {remedy}") from None
