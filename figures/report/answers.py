"""What has been found in a run, for the page: the verdict with what decided it, and the replies of studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toymodels.sweeps import studies
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.arms import as_python, value_text
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.studies.document import read

MOST_ROWS = 200
"""rows of a study's table on the page"""
ASKED = "Does SoLU with LayerNorm make two tiers of features?"


@dataclass(frozen=True)
class Grid:
    """A table of the page, as text."""

    title: str
    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    more: int = 0
    """rows that are left out at the end"""
    opened: bool = False
    """whether it is seen at once"""


@dataclass(frozen=True)
class Found:
    """A question and its answer."""

    question: str
    answer: str
    why: str = ""
    """what decided it"""
    notes: Sequence[str] = ()
    grids: Sequence[Grid] = ()


def found(run: Run) -> tuple[list[Found], list[str]]:
    """What the run folder holds of answers, the verdict first, and a sentence for each that cannot be read."""
    answers, problems = [], []
    if (run.path / "verdicts.json").exists():
        try:
            answers.append(_verdict(run))
        except FolderError as error:
            problems.append(str(error))
    for name in studies.NAMES:
        if (run.path / f"{name}.json").exists():
            try:
                reply = read(run, name)
            except FolderError as error:
                problems.append(str(error))
                continue
            grids = [_grid(title, table) for title, table in reply.tables.items()]
            answers.append(Found(reply.question, reply.sentence, notes=reply.notes, grids=grids))
    return answers, problems


def _verdict(run: Run) -> Found:
    """What ``toymodels verdict`` said: of its first regime, the primary one if there is one, and a row a regime."""
    try:
        regimes = [_SaidOfRegime.of(regime) for regime in run.verdicts["regimes"]]
        notes = [str(note) for note in run.verdicts.get("notes", ())]
        first = regimes[0]
    except (AttributeError, KeyError, IndexError, TypeError):
        path = run.path / "verdicts.json"
        raise FolderError(f"{path}: damaged: 'toymodels verdict {run.path}' makes it") from None
    keys = list(first.claims)
    others = f" It is the first of {len(regimes)} regimes." if len(regimes) > 1 else ""
    return Found(
        question=ASKED,
        answer=_sentence(first.answer),
        why=_sentence(f"Decided by: {first.decided_by}"),
        notes=[f"{'Primary' if first.primary else 'Exploratory'} regime: {first.name}.{others}", *notes],
        grids=[
            Grid(
                "Regimes",
                ["regime", "answer", "decided by", "SoLU adds two tiers"],
                [[each.called, each.answer, each.decided_by, each.adds] for each in regimes],
                opened=True,
            ),
            Grid(
                "Predictions in the first regime",
                ["", "claim", "status"],
                [[key, first.claims[key], first.status(key)] for key in keys],
                opened=True,
            ),
            Grid(
                "Predictions in every regime",
                ["regime", *keys],
                [[each.called, *(each.status(key) for key in keys)] for each in regimes],
            ),
        ],
    )


@dataclass(frozen=True)
class _SaidOfRegime:
    """What the page says of one regime of ``verdicts.json``; each part is text, whatever a file has there."""

    name: str
    primary: bool
    answer: str
    decided_by: str
    adds: str
    claims: dict[str, str]
    statuses: dict[str, str]

    @property
    def called(self) -> str:
        return self.name + (" (primary)" if self.primary else "")

    def status(self, key: str) -> str:
        return self.statuses.get(key) or "describes"

    @staticmethod
    def of(said: Any) -> _SaidOfRegime:
        predictions = {str(key): each for key, each in said["predictions"].items()}
        return _SaidOfRegime(
            *(str(said["name"]), bool(said["primary"])),
            *(str(said[key]) for key in ("answer", "decided_by", "adds")),
            claims={key: str(each["claim"]) for key, each in predictions.items()},
            statuses={key: str(each["status"] or "") for key, each in predictions.items()},
        )


def _grid(title: object, table: Any) -> Grid:
    rows = [
        [value_text(as_python(value)) for value in row]
        for row in table.head(MOST_ROWS).itertuples(index=False, name=None)
    ]
    return Grid(str(title), [str(name) for name in table.columns], rows, max(0, len(table) - MOST_ROWS))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
