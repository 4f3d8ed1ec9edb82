"""At a glance: how results show themselves, as a few lines of text and, in a notebook, as a small HTML table.

Whatever is shown is text: names are escaped. Nothing has a colour, so that it reads on light and dark pages alike, and
nothing grows with thousands of models: `MOST_ROWS` are shown, and how many more there are is said.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

MOST_ROWS = 12
"""of a table that a notebook shows"""
MOST_LETTERS = 160
"""of a cell"""


def escaped(text: object) -> str:
    """A text that is shown as it stands, whatever is in it, and cut off where it is long."""
    said = str(text)
    return html.escape(said if len(said) <= MOST_LETTERS else f"{said[: MOST_LETTERS - 3]}...")


def html_table(titles: Sequence[str], rows: Sequence[Sequence[object]], more: int = 0, *, most: int = MOST_ROWS) -> str:
    """An HTML table of the first ``most`` of these rows; ``more`` is how many others were not even made."""
    left = max(0, len(rows) - most) + more
    head = "".join(f"<th>{escaped(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows[:most])
    below = f"<p>and {left:,} more</p>" if left else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def html_page(title: str, facts: Sequence[str], table: str = "") -> str:
    """A title, a line of facts, and a table below them, as a notebook shows them."""
    said = "".join(f"<br>{html.escape(fact)}" for fact in facts if fact)
    return f"<div><strong>{html.escape(title)}</strong>{said}{table}</div>"


def number(value: float) -> str:
    """A number in four digits; a dash where it is undefined."""
    return f"{value:.4g}" if value == value else "-"
