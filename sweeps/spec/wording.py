"""Wording: what was given and what is near it, as they stand in a sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def did_you_mean(given: str, choices: Iterable[str]) -> str:
    """The nearest valid choices, as the end of a sentence."""
    choices = sorted(choices)
    near = difflib.get_close_matches(given.lower(), choices, n=1, cutoff=0.5)
    if near:
        return f" (did you mean '{near[0]}'?)"
    return f" (expected one of: {', '.join(choices)})"


def one_of(choices: Iterable[str]) -> str:
    """Words in quotes, the last after an "or"."""
    *others, last = (f"'{choice}'" for choice in choices)
    return f"{', '.join(others)} or {last}" if others else last


def short(value: Any, longest: int = 60) -> str:
    """A value as it can stand in a sentence."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print whole numbers of thousands of digits
        text = f"a {type(value).__name__} too long to print"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def as_tuples(value: Any) -> Any:
    """Lists, as TOML has them, as tuples, which can be hashed."""
    return tuple(as_tuples(each) for each in value) if isinstance(value, list) else value
