"""A reply: what a study says of a run, in a sentence and in tables.

Numbers over seeds stand in four columns, ``mean``, ``low``, ``high`` and ``seeds``: the mean over the models of an arm,
its 95 % interval over seeds (`toymodels.hypotheses.statistics.intervals`), and how many seeds have the number. The
interval is the studentised bootstrap's, of fewer than eight seeds Student's t, as few seeds have resamples without
spread whose t is anything; a single seed has none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from toymodels.glance import escaped, html_page, html_table
from toymodels.hypotheses.statistics.intervals import Interval, bootstrap_interval, student_interval

ESTIMATE = ("mean", "low", "high", "seeds")
"""The columns that `estimate` fills."""
FEWEST_RESAMPLED = 8
"""With fewer seeds an interval is Student's t."""
UNCORRECTED = (
    "Intervals are each comparison's own, not corrected for how many there are: of intervals at 95 % one in twenty is "
    "off by chance, so that only what was asked beforehand is a claim."
)
"""A note of every reply with many comparisons."""


@dataclass(frozen=True)
class Reply:
    """What a study says of a run."""

    question: str
    """in a sentence that a stranger understands alone"""
    sentence: str
    """the answer in a line, with its interval and how many seeds it rests on"""
    tables: Mapping[str, pd.DataFrame]
    """by a title that says what a row is; what is undefined is NaN or None"""
    notes: Sequence[str] = ()
    """what should be known before the answer is believed, a sentence each"""

    def __repr__(self) -> str:
        tables = ", ".join(f"{title!r} ({len(table)} rows)" for title, table in self.tables.items())
        return f"Reply: {self.sentence}\ntables: {tables}"

    def _repr_html_(self) -> str:
        shown = (
            f"<p>{escaped(title)}</p>{html_table(list(table.columns), table.to_numpy().tolist())}"
            for title, table in self.tables.items()
        )
        return html_page(self.question, [self.sentence, *self.notes], "".join(shown))


def estimate(
    values: Sequence[float] | np.ndarray | pd.Series, *, least: float = -math.inf, most: float = math.inf
) -> dict[str, float | int]:
    """`ESTIMATE` of one number a seed; NaN, a seed in which it is undefined, is left out. No interval is NaN to NaN.

    ``least`` and ``most`` are what the number can be, such as 0 and 1 of a share: the interval is cut there.
    """
    x = np.asarray(values, np.float64)
    x = x[np.isfinite(x)]
    few = student_interval(x) if len(x) < FEWEST_RESAMPLED else None
    return columns_of(few or bootstrap_interval(x), least=least, most=most)


def estimates(
    numbers: pd.DataFrame,
    by: Sequence[str],
    measures: Sequence[str],
    ends: Mapping[str, tuple[float, float]] | None = None,
) -> pd.DataFrame:
    """`estimate` of each of some ``measures``, columns of a table with a row a model, for models that are alike in the
    columns ``by``: a row a measure of these, named in the column ``measure``. ``ends`` are the least and the largest
    that a measure can be, where there are any: no interval reaches beyond."""
    return pd.DataFrame(
        dict(zip(by, key, strict=True)) | {"measure": measure} | estimate(alike[measure], least=least, most=most)
        for key, alike in numbers.groupby(list(by), sort=False)
        for measure in measures
        for least, most in [(ends or {}).get(measure, (-math.inf, math.inf))]
    )


def columns_of(interval: Interval, *, least: float = -math.inf, most: float = math.inf) -> dict[str, float | int]:
    """`ESTIMATE` of an interval that is there already, cut at ``least`` and ``most``."""
    ends = (interval.low, interval.high)
    low, high = (min(max(end, least), most) if math.isfinite(end) else math.nan for end in ends)
    return {"mean": interval.mean, "low": low, "high": high, "seeds": interval.n}


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each by the names of its columns."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def said(numbers: Mapping[str, float | int], digits: int = 3) -> str:
    """An estimate in words: ``.123 (.110 to .136)``, or the mean alone where there is no interval, or ``undefined``."""
    if math.isnan(float(numbers["mean"])):
        return "undefined"
    mean, low, high = (decimal(float(numbers[name]), digits) for name in ESTIMATE[:3])
    return mean if math.isnan(float(numbers["low"])) else f"{mean} ({low} to {high})"


def more(numbers: Mapping[str, float | int], digits: int = 3, what: str = "", *, below_0: str = "fewer") -> str:
    """A difference in words: ``2.0 (1.5 to 2.5) features more``, and ``below_0`` by how much it is ``fewer``."""
    below = float(numbers["mean"]) < 0
    if below:
        mean, low, high = (-float(numbers[name]) for name in ESTIMATE[:3])
        numbers = {"mean": mean, "low": high, "high": low}
    return " ".join(filter(None, (said(numbers, digits), what, below_0 if below else "more")))


def chosen(by: str, of: int) -> str:
    """What must stand beside the interval of what was chosen of so many ``by`` the same numbers; nothing of one."""
    return f" (chosen as {by} of {of}: its interval is too narrow)" if of > 1 else ""


def decimal(value: float, digits: int) -> str:
    """A number in so many digits, without the 0 before its point: ``.12``."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) and digits else text
