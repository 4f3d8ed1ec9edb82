"""How values are spelled: TOML, and where that fails what Python would write, ``True``, ``.1`` and ``1.``.

The command line takes either; a file is TOML, and its refusal says what would mend it.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

HINT = "TOML writes true / false, and 0.1"
QUOTED = re.compile(r"""("(?:\\.|[^"\\\n])*"|'[^'\n]*')""")
OF_PYTHON = (
    (re.compile(r"(?<![\w.-])True(?![\w.-])"), "true"),
    (re.compile(r"(?<![\w.-])False(?![\w.-])"), "false"),
    (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),
    (re.compile(r"(?<=\d)\.(?![\w.])"), ".0"),
    (re.compile(r"(?<=\d)\.(?=[eE][+-]?\d)"), ".0"),
)


def as_toml(text: str) -> str:
    """The same text with Python's spellings of truth and numbers replaced by TOML's, apart from what is in quotes."""
    parts = QUOTED.split(text)
    for i in range(0, len(parts), 2):
        for pattern, replacement in OF_PYTHON:
            parts[i] = pattern.sub(replacement, parts[i])
    return "".join(parts)


def value(text: str) -> Any:
    """The value that is written there, in TOML or as Python would; raises ``ValueError`` where it is none."""
    for spelled in (text, as_toml(text)):
        try:
            parsed = tomllib.loads(f"v = {spelled}")
        except (ValueError, RecursionError):  # of which TOMLDecodeError is one
            continue
        if set(parsed) == {"v"}:
            return parsed["v"]
    raise ValueError(f"{text}: no value")


def hint(text: str) -> str:
    """The end of a sentence that refuses a file which would be TOML but for Python's spellings; else empty."""
    try:
        tomllib.loads(as_toml(text))
    except (ValueError, RecursionError):
        return ""
    return f" ({HINT})"
