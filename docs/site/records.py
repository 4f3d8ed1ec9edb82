"""Links from a page to the records of benchmarks, which are beside the pages and no part of the site: as downloads."""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"\[([^\]]+)\]\((\.\./benchmarks/results/[\w.-]+)\)")


def on_source(app: Any, name: str, source: list[str]) -> None:
    """What Sphinx calls with the text of every page, to change it in place."""
    source[0] = LINK.sub(r"{download}`\1 <\2>`", source[0])


def setup(app: Any) -> dict[str, bool]:
    """Be asked by Sphinx for every page."""
    app.connect("source-read", on_source)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
