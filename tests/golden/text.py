"""Recorded values as text that reads well in a diff, and how a value found now differs from a recorded one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
DIGITS = 7
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


def as_text(value: Any) -> str:
    """JSON, keys sorted and indented; a list of numbers is one line, and so is a list that begins with its name."""
    return "".join(_written(value, "")) + "\n"


def _written(value: Any, indent: str) -> Iterator[str]:
    deeper = indent + " "
    if isinstance(value, dict) and value:
        inside = [(f"{json.dumps(key)}: ", value[key]) for key in sorted(value)]
        brackets = "{}"
    elif isinstance(value, list) and value and _is_long(value):
        inside, brackets = [("", each) for each in value], "[]"
    else:
        yield json.dumps(value, ensure_ascii=False)
        return
    yield brackets[0]
    for place, (name, each) in enumerate(inside):
        yield f"{',' if place else ''}\n{deeper}{name}"
        yield from _written(each, deeper)
    yield f"\n{indent}{brackets[1]}"


def _is_long(values: list[Any]) -> bool:
    """Whether a list has a line an entry: of tables, of sentences, of lists that begin with their name."""
    named = (isinstance(each, list) and each and isinstance(each[0], str) for each in values)
    return any(isinstance(each, dict) for each in values) or all(isinstance(each, str) for each in values) or any(named)


def read(name: str) -> Any:
    """What is recorded in this file of ``data/``."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def rounded(value: Any) -> Any:
    """``value`` with its numbers to `DIGITS` digits, as JSON would give it back."""
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def differences(recorded: Any, found: Any, exact: bool, near: float = 1e-2, at: str = "") -> list[str]:
    """Where ``found`` is not what was recorded, a line each; unless ``exact``, numbers need only be ``near``."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        lines = [f"{at}/{key}: gone" for key in sorted(recorded.keys() - found.keys())]
        lines += [f"{at}/{key}: new" for key in sorted(found.keys() - recorded.keys())]
        both = sorted(recorded.keys() & found.keys())
        return lines + [
            line for key in both for line in differences(recorded[key], found[key], exact, near, f"{at}/{key}")
        ]
    if isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            return [f"{at}: {len(recorded)} recorded, {len(found)} found"]
        pairs = enumerate(zip(recorded, found, strict=True))
        return [line for place, (was, now) in pairs for line in differences(was, now, exact, near, f"{at}[{place}]")]
    same = recorded == found and type(recorded) is type(found)
    if not same and not exact:
        same = _alike(recorded, found, near)
    return [] if same else [f"{at}: recorded {recorded!r}, found {found!r}"]


def _alike(recorded: Any, found: Any, near: float) -> bool:
    """Whether two numbers are near, or two sentences equal but for their numbers."""
    if isinstance(recorded, str) and isinstance(found, str):
        return NUMBER.sub("#", recorded).split() == NUMBER.sub("#", found).split()
    if isinstance(recorded, bool | str) or isinstance(found, bool | str) or recorded is None or found is None:
        return False
    return math.isclose(recorded, found, rel_tol=near, abs_tol=near)
