"""Spelling: numbers and truth values as Python writes them, where TOML writes them otherwise.

TOML has ``true``, ``0.1`` and ``1.0``; fingers that are used to Python write ``True``, ``.1`` and ``1.``.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

HINT = "TOML writes true and false in small letters, 0.1 for .1 and 1.0 for 1."
QUOTED = re.compile(r"(\"[^\"\n]*\"|'[^'\n]*')")
RULES = (
    (re.compile(r"(?<![\w.])([+-]?)\.(?=\d)"), r"\g<1>0."),
    (re.compile(r"(?<![\w.])([+-]?\d[\d_]*)\.(?=[eE])"), r"\g<1>.0"),
    (re.compile(r"(?<![\w.])([+-]?\d[\d_]*)\.(?![\w.])"), r"\g<1>.0"),
    (re.compile(r"\bTrue\b"), "true"),
    (re.compile(r"\bFalse\b"), "false"),
)


def as_toml(text: str) -> str:
    """``text`` with Python's spellings outside of quotes as TOML has them."""
    parts = QUOTED.split(text)
    for place in range(0, len(parts), 2):
        for pattern, replacement in RULES:
            parts[place] = pattern.sub(replacement, parts[place])
    return "".join(parts)


def parsed(text: str) -> dict[str, Any] | None:
    """The document that TOML reads in ``text``, in either spelling; None where it is none."""
    for each in (text, as_toml(text)):
        try:
            return tomllib.loads(each)
        except (tomllib.TOMLDecodeError, RecursionError, ValueError):
            continue
    return None
