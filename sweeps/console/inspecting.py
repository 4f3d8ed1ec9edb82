"""Inspecting: a person judges neurons in the terminal, one at a time and not knowing their arms; the scores at the end.

What is shown depends on the examples of a neuron alone (`toymodels.sweeps.studies.blinded`): plain lines, no colours.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toymodels.sweeps.console import documents
from toymodels.sweeps.console.door import say
from toymodels.sweeps.console.keys import can_be_asked, single_keys
from toymodels.sweeps.console.replies import print_tables
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies import blinded, judgements
from toymodels.sweeps.studies.blinded import BlindTest, Place
from toymodels.sweeps.studies.judgements import Judged, Judgements
from toymodels.sweeps.studies.persons import against_rule, scores

KEYS = {"y": Judged.INTERPRETABLE, "n": Judged.NOT, "u": Judged.UNSURE}
BACK, LEAVE, ENDED = "b", "q", ""
NEURONS = 60
"""of each arm, unless another number is asked for"""
ASKS = "Do most of these have one feature in common? y yes, n no, u unsure, b back, q leave: "


@dataclass(frozen=True)
class Wanted:
    """What ``toymodels inspect`` was asked for; None is what was begun before, or the usual."""

    judge: str
    arms: tuple[str, ...] | None
    neurons: int | None
    seed: int | None


def inspect(run: Run, judge: str, arms: str | None, neurons: int | None, seed: int | None, *, as_json: bool) -> None:
    """Show what is left to judge, one neuron after another, and print the scores when all are judged.

    Raises `SpecError` where nobody can be asked, and where what was begun under this name is another test.
    """
    named = None if arms is None else tuple(name.strip() for name in arms.split(","))
    wanted = Wanted(judgements.checked_name(judge), named, neurons, seed)
    held = judgements.read(run, judge)
    if held is not None and held.finished:
        test, held = _begun(run, wanted, held)
    elif not can_be_asked():
        raise SpecError("inspect: a person judges, key by key: stdin and stderr must be a terminal")
    else:
        with judgements.judging(run, judge):
            test, held = _begun(run, wanted, judgements.read(run, judge))
            held = _ask(run, test, held)
    if not held.finished:
        again = f"toymodels inspect {shlex.quote(str(run.path))} --judge {judge}"
        say(f"{held.judged} of {len(held.verdicts)} neurons are judged, and kept. To go on: {again}")
        if as_json:
            documents.print_document(documents.of_judgements(run.path, held, []))
        return
    tables = {**scores(test, held), **against_rule(test, held)}
    if as_json:
        documents.print_document(documents.of_judgements(run.path, held, list(tables.values())))
        return
    print_tables(tables)
    for sentence in blinded.left_out(test):
        print(sentence)
    print(judgements.path_of(run, judge))
    print(f"Next: toymodels answer inspection {shlex.quote(str(run.path))}")


def _begun(run: Run, wanted: Wanted, held: Judgements | None) -> tuple[BlindTest, Judgements]:
    """The test that was begun under this name, or a new one. Raises `SpecError` where that one is not what is wanted,
    `FolderError` where the run is no longer the one that it was drawn from."""
    say("looking for the strongest examples of every neuron")
    if held is None:
        seed = secrets.randbits(62) if wanted.seed is None else wanted.seed
        neurons = NEURONS if wanted.neurons is None else wanted.neurons
        test = blinded.draw(run, wanted.arms, neurons, seed)
        verdicts: tuple[Judged | None, ...] = (None,) * len(test.places)
        return test, Judgements(wanted.judge, seed, test.arms, neurons, test.digest, verdicts)
    path = judgements.path_of(run, held.judge)
    asked: dict[str, tuple[object, object]] = {
        "neurons": (wanted.neurons, held.neurons),
        "seed": (wanted.seed, held.seed),
    }
    if wanted.arms is not None:
        asked["arms"] = (sorted(wanted.arms), sorted(held.arms))
    for option, (new, old) in asked.items():
        if new is not None and new != old:
            raise SpecError(f"--{option}: {path} was begun with another; leave it out, or judge under another --judge")
    return blinded.drawn_again(run, held), held


def _ask(run: Run, test: BlindTest, held: Judgements) -> Judgements:
    """Ask for the verdicts that are missing, and keep each as it is given; ends where the person leaves."""
    place = min(held.judged, len(held.verdicts) - 1)
    while not held.finished:
        with single_keys() as key:
            pressed = _asked(test, place, key)
        say(pressed)
        if pressed in (LEAVE, ENDED):
            break
        if pressed == BACK:
            place = max(0, place - 1)
            continue
        held = held.with_verdict(place, KEYS[pressed])
        judgements.write(run, held)
        place += 1
    return held


def _asked(test: BlindTest, place: int, key: Callable[[], str]) -> str:
    """The key that the person answers a place with, one that means something."""
    columns = max(20, shutil.get_terminal_size().columns)
    say(f"\nNeuron {place + 1} of {len(test.places)}: what is active in its strongest examples")
    for line in lines(test.places[place], columns):
        say(line)
    for line in textwrap.wrap(ASKS, columns - 2):
        say(line)
    while (pressed := key().lower()) not in (*KEYS, BACK, LEAVE, ENDED):
        pass
    return pressed


def lines(place: Place, columns: int) -> Iterator[str]:
    """What is shown of a neuron, in lines of so many columns."""
    for rank, features in enumerate(place.examples, 1):
        text = "  ".join(features) or "(nothing)"
        yield from textwrap.wrap(text, columns - 1, initial_indent=f"{rank:3}  ", subsequent_indent=" " * 5)
    if place.frequencies:
        said = ", ".join(f"{name} {share:.1%}" for name, share in place.frequencies)
        yield from textwrap.wrap(f"Active in all examples: {said}", columns - 1)
