"""Assignments: what stands after ``--set`` and ``--grid`` on the command line."""

from __future__ import annotations

from typing import Any

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec import spelling
from toymodels.sweeps.spec.axes import TABLES


def parse_assignment(text: str, option: str) -> tuple[str, Any]:
    """``KEY=VALUE``, VALUE a TOML value or, where it is none, a bare string."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value.strip():
        raise SpecError(f"{option}: expected KEY=VALUE, got '{text}'")
    return name.strip(), _toml_value(value.strip())


def parse_axis(text: str) -> tuple[str, Any]:
    """``KEY=V1,V2`` or ``KEY={ range = [0, 8] }``."""
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise SpecError(f"--grid: expected KEY=V1,V2, got '{text}'")
    parsed = _toml_value(values.strip())
    if isinstance(parsed, list) or (isinstance(parsed, dict) and set(TABLES) & set(parsed)):
        return name.strip(), parsed
    listed = spelling.parsed(f"v = [{values}]")
    if listed is not None and set(listed) == {"v"}:
        return name.strip(), listed["v"]
    return name.strip(), [_toml_value(part.strip()) for part in values.split(",") if part.strip()]


def _toml_value(text: str) -> Any:
    """The TOML value that a text is, in TOML's spelling or Python's; a bare string where it is none."""
    parsed = spelling.parsed(f"v = {text}")
    return parsed["v"] if parsed is not None and set(parsed) == {"v"} else text
