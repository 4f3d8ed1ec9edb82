"""The reporter: who hears how a run goes on, in sentences and in models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from toymodels.engines.engine import unheard


@dataclass(frozen=True)
class Reporter:
    """Hears of a run on its way. Whatever is not given here is heard by nobody."""

    note: Callable[[str], None] = unheard
    """called with a sentence that the user should see"""
    trained: Callable[[float], None] = unheard
    """called when so many models' worth of training is done, in parts of a model; with 0 when training begins"""
    stored: Callable[[float], None] = unheard
    """called with so many models that were there already"""
    opened: Callable[[], None] = lambda: None
    """called when the run folder was found to be, or made, that of the run, before anything is trained"""
    _said: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def note_once(self, sentence: str) -> None:
        """Note a sentence unless this reporter has noted it once before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.note(sentence)


SILENT = Reporter()
"""hears everything and tells nobody"""
