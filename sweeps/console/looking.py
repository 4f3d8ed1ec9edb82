"""A look at a run: where it stands, how fast it goes, how long it will take, what it has learned and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from toymodels.sweeps.console import documents
from toymodels.sweeps.console.documents import Document
from toymodels.sweeps.console.standing import Standing
from toymodels.sweeps.errors import PacksFailed
from toymodels.sweeps.execution.estimate import span
from toymodels.sweeps.plan.plan import Pack
from toymodels.sweeps.results.newest import LayerLosses, Newest
from toymodels.sweeps.store.store import Store
from toymodels.sweeps.store.tuning import to_come

MOST_FAILURES = 8
"""that are shown with their reasons"""


@dataclass(frozen=True)
class Look:
    """What ``toymodels watch`` sees at one moment."""

    standing: Standing
    share: float
    """of the part that is trained and measured, packs in training counted as far as they are: 0 to 1"""
    models_a_second: float | None
    """of all who are at work; None where none has said"""
    losses: Sequence[LayerLosses]
    failures: dict[int, str]
    """why each pack could not be trained that is not there, by its number"""
    unreadable: Sequence[str] = ()
    """the names of packs, among the newest, that cannot be read"""

    @property
    def seconds_left(self) -> float | None:
        """Until this part is trained, at the speed of who is at work; None where there is none."""
        rate = self.models_a_second
        return (1 - self.share) * self.standing.manifest.models / rate if rate else None

    @property
    def exit_code(self) -> int | None:
        """What the sweep's own command ends with, once it has ended: 0 finished, 3 some packs failed. None before.

        With packs missing that did not fail it has not ended: the same command goes on.
        """
        standing = self.standing
        if standing.at_work or standing.packs_done + len(self.failures) < standing.manifest.packs:
            return None
        if self.failures:
            return PacksFailed.exit_code
        return None if standing.part else 0

    @property
    def headline(self) -> str:
        """How far the run is, in a line: what the bar shows, and how long it will take."""
        standing, manifest = self.standing, self.standing.manifest
        part = f" {standing.part}" if standing.part else ""
        said = [f"{standing.folder}:{part} {standing.packs_done:,} of {manifest.packs:,} packs, {self.share:.1%}"]
        said += [f"{self.models_a_second:,.2f} models/s"] if self.models_a_second else []
        said += [f"about {span(self.seconds_left)} left"] if self.seconds_left else []
        return printable(", ".join(said))

    @property
    def state(self) -> list[str]:
        """Who is at work, what failed and what cannot be read, a line each: what changes seldom."""
        standing = self.standing
        lines = [f"at work: {name}" for name in standing.in_use_by]
        if not lines and self.exit_code is None:
            lines = [f"nobody is at work. {standing.to_continue}"]
        lines += [f"pack {index} failed: {reason}" for index, reason in [*self.failures.items()][:MOST_FAILURES]]
        if len(self.failures) > MOST_FAILURES:
            lines.append(f"{len(self.failures) - MOST_FAILURES:,} more packs failed: {standing.store.failed}")
        if self.unreadable:
            lines.append(f"cannot be read: {', '.join(self.unreadable[:MOST_FAILURES])} in {standing.store.packs}")
        return [printable(line) for line in lines]

    def document(self) -> Document:
        """All of it, as ``--json`` prints it: what ``toymodels status`` says, and more."""
        return documents.of_standing(self.standing) | {
            "share": self.share,
            "models_a_second": self.models_a_second,
            "seconds_left": self.seconds_left,
            "losses": [asdict(each) for each in self.losses],
            "failures": {str(index): reason for index, reason in self.failures.items()},
            "unreadable": list(self.unreadable),
            "ended": self.exit_code is not None,
        }


class Watcher:
    """Looks at a run folder again and again, and writes nothing there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._newest: Newest | None = None

    def look(self) -> Look | None:
        """What is seen now; None where no sweep has begun there yet. Raises `FolderError` where it is no run folder."""
        if to_come(self.folder):
            return None
        standing = Standing.of(self.folder)
        store = standing.store
        if self._newest is None or self._newest.store.path != store.path:
            self._newest = Newest(store)
        losses, manifest = self._newest.look(), standing.manifest
        pulses = [holder.pulse for holder in standing.at_work if holder.pulse]
        # A pack counts as measured from here on, and as its process says before: it is stored in between.
        done = self._newest.measured / max(1, manifest.packs)
        done += sum(pulse.unstored for pulse in pulses) / max(1, manifest.models)
        return Look(
            standing=standing,
            share=min(1.0, done),
            models_a_second=sum(pulse.rate for pulse in pulses) or None,
            losses=losses,
            failures=_failures(store),
            unreadable=self._newest.unreadable,
        )


def _failures(store: Store) -> dict[int, str]:
    """Why each planned pack failed that is not there, by its number."""
    failed = [Pack(index, ()) for index in store.failures() if index < store.manifest.packs]
    missing = [pack for pack in failed if not store.pack_path(pack).exists()]
    known = {pack.index: store.failure(pack) for pack in missing}
    return {index: failure.reason if failure else "nobody knows why" for index, failure in known.items()}


def printable(line: str) -> str:
    """A line in which nothing moves the cursor, whatever a file says."""
    return "".join(letter if letter.isprintable() else " " for letter in line)
