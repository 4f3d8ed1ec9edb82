"""Judgements: what a person has said so far of the neurons of a blinded test, in the run folder.

    inspected/<judge>/judgements.json    written anew after every verdict, whole or not at all
    (`toymodels.sweeps.store`)

It holds the seed that the test was drawn by, what it was drawn from, and the verdict of each place in the order in
which places are shown; no arm, model or neuron of any place, and no time. Which place is of which arm follows from
the seed by way of the trained models alone (`toymodels.sweeps.studies.blinded`): nobody reads it off the file, and
whoever runs the program's own drawing on it can compute it, as they could with any secret that the program can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from toymodels.sweeps.errors import FolderError, InUse, SpecError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic
from toymodels.sweeps.store.folder import INSPECTED
from toymodels.sweeps.store.locks import Lock
from toymodels.sweeps.store.rights import make_inner_folder, unreadable, unwritable

SCHEMA = 1
"""The version of the form of these files."""
FILE = "judgements.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
MOST_BYTES = 2**24


class Judged(Enum):
    """What a person says of one neuron."""

    INTERPRETABLE = "interpretable"
    NOT = "not interpretable"
    UNSURE = "unsure"


@dataclass(frozen=True)
class Judgements:
    """A blinded test that a person has begun, and the verdicts so far."""

    judge: str
    seed: int
    """of the draw: which neurons, in what order"""
    arms: tuple[str, ...]
    neurons: int
    """how many of each arm were asked for"""
    digest: str
    """of what was drawn, by which another draw is told from it"""
    verdicts: tuple[Judged | None, ...]
    """one a place, in the order in which they are shown; None for those at the end that have none yet"""

    @property
    def judged(self) -> int:
        """How many places have a verdict."""
        return sum(verdict is not None for verdict in self.verdicts)

    @property
    def finished(self) -> bool:
        """Whether every place has a verdict: then arms are told, and verdicts stay as they are."""
        return self.judged == len(self.verdicts)

    def with_verdict(self, place: int, verdict: Judged) -> Judgements:
        """The same with the verdict of one place, in the place of what it had."""
        return replace(self, verdicts=(*self.verdicts[:place], verdict, *self.verdicts[place + 1 :]))


def checked_name(judge: str) -> str:
    """The name of a judge, as it names a folder. Raises `SpecError` where it cannot."""
    if not NAME.fullmatch(judge):
        raise SpecError(f"--judge: expected up to 40 letters, digits, '-' and '_', got '{judge}'")
    return judge


def path_of(run: Run, judge: str) -> Path:
    """The file of a judge in a run folder, whether or not it is there."""
    return run.path / INSPECTED / judge / FILE


def read(run: Run, judge: str) -> Judgements | None:
    """What a judge has said of a run so far; None before the first verdict. Raises `FolderError` for a file that is not
    one of these."""
    path = path_of(run, judge)
    try:
        held = json.loads(atomic.read(path, MOST_BYTES))
        if held["schema"] != SCHEMA:
            raise FolderError(f"{path}: of another version: judge again under another --judge")
        found = Judgements(
            judge=judge,
            seed=held["seed"],
            arms=tuple(held["arms"]),
            neurons=held["neurons"],
            digest=held["digest"],
            verdicts=tuple(None if verdict is None else Judged(verdict) for verdict in held["verdicts"]),
        )
        whole = [type(each) is int and 0 <= each < 2**63 for each in (found.seed, found.neurons)]
        in_order = None not in found.verdicts[: found.judged]
        if not (all(whole) and in_order and all(type(each) is str for each in (*found.arms, found.digest))):
            raise ValueError
        return found
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise FolderError(f"{path}: damaged: move it away, or judge again under another --judge") from None


def judges(run: Run) -> list[str]:
    """Who has judged in a run folder, whether or not their files can be read."""
    names = sorted(path.parent.name for path in (run.path / INSPECTED).glob(f"*/{FILE}"))
    return [name for name in names if NAME.fullmatch(name)]


def write(run: Run, judgements: Judgements) -> Path:
    """Write what a judge has said, whole or not at all; returns its path."""
    path = path_of(run, judgements.judge)
    held = {
        "schema": SCHEMA,
        "seed": judgements.seed,
        "arms": list(judgements.arms),
        "neurons": judgements.neurons,
        "digest": judgements.digest,
        "verdicts": [None if verdict is None else verdict.value for verdict in judgements.verdicts],
    }
    try:
        atomic.write(path, json.dumps(held, indent=1).encode() + b"\n")
    except OSError as error:
        raise unwritable(path, error) from None
    return path


@contextmanager
def judging(run: Run, judge: str) -> Iterator[None]:
    """While the block runs this process alone judges under this name. Raises `FolderError` where another does."""
    folder = path_of(run, judge).parent
    try:
        make_inner_folder(folder.parent)
        make_inner_folder(folder)
    except OSError as error:
        raise unwritable(folder, error) from None
    lock = Lock(folder)
    try:
        lock.take()
    except InUse:
        holder = " and ".join(each.name for each in lock.holders())
        raise InUse(f"{folder}: in use by {holder}: wait for it, or judge under another --judge") from None
    try:
        yield
    finally:
        lock.release()
