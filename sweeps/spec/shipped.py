"""The shipped sweeps: which there are, and what each asks, without the settings that they name being checked.

So that they are listed at once: a check needs the settings, and these all of the science.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.axes import axis_size
from toymodels.sweeps.spec.wording import did_you_mean


@dataclass(frozen=True)
class Shipped:
    """What a shipped sweep asks, and how many models it has."""

    question: str
    models: int


def shipped() -> dict[str, Path]:
    """The shipped sweeps by name."""
    folder = Path(str(resources.files("toymodels.sweeps")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find(name_or_file: str) -> Path:
    """The file that a name means: one with ``/`` or ``.toml`` is a file, any other a shipped sweep."""
    if "/" in name_or_file or name_or_file.endswith(".toml"):
        return Path(name_or_file)
    choices = shipped()
    if name_or_file not in choices:
        raise SpecError(f"no shipped sweep is called '{name_or_file}'{did_you_mean(name_or_file, choices)}")
    return choices[name_or_file]


def listed() -> dict[str, Shipped]:
    """What each shipped sweep asks, by name."""
    return {name: _listed(path) for name, path in shipped().items()}


def _listed(path: Path) -> Shipped:
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    axes = [axis_size(values) for values in raw.get("grid", {}).values()]
    return Shipped(raw.get("question", ""), math.prod([*axes, max(1, len(raw.get("case", [])))]))
