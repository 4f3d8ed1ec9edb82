"""Reference: the table of settings in docs/SWEEPS.md, written from what the dataclasses declare.

python -m toymodels.sweeps.spec.reference docs/SWEEPS.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from toymodels.sweeps.spec.plain import described
from toymodels.sweeps.spec.resolved import toml_value
from toymodels.sweeps.spec.schema import ALL_SETTINGS, Setting

BEGIN, END = "<!-- settings: written by toymodels.sweeps.spec.reference -->", "<!-- end of settings -->"


def table() -> str:
    """Every setting, a line each: its name, what it may be, its default, and what it is."""
    lines = ["| setting | may be | default | |", "| --- | --- | --- | --- |", *map(_line, ALL_SETTINGS.values())]
    return "\n".join(lines)


def with_table(page: str) -> str:
    """The page with the table between its marks; raises ``ValueError`` where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _line(setting: Setting) -> str:
    default = "" if setting.default is None else f"`{toml_value(setting.default)}`"
    cells = (f"`{setting.name}`", described(setting.check), default, setting.says)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
