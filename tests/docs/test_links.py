"""Links in the pages as a code host shows them: every file and every heading that one leads to is there.

Sphinx checks the links of the site (``make docs``). Those that leave the repository are held to their form alone: tests
have no network.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^ *(```+).*?^ *\1 *$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?: [^)]*)?\)")


def links(text: str) -> list[str]:
    """Where a page leads; in code brackets mean something else."""
    unfenced = FENCED.sub("", text)
    named = re.sub(r"\[`([^`\n]*)`\]", r"[\1]", unfenced)
    return LINK.findall(re.sub(r"`[^`\n]*`", "", named))


def places(text: str) -> set[str]:
    """The anchors that a code host gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def fault(link: str, page: Path) -> str:
    """What is wrong with a link of a page; nothing if it leads somewhere."""
    parts = urlsplit(link)
    if parts.scheme:
        whole = parts.scheme in ("http", "https") and "." in parts.netloc
        return "" if whole else "no address"
    to = (page.parent / parts.path).resolve() if parts.path else page
    if not to.exists():
        return "not there"
    there = not parts.fragment or parts.fragment in places(to.read_text(encoding="utf-8"))
    return "" if there else "no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert {link: why for link in links(text) if (why := fault(link, page))} == {}


def test_a_link_to_nothing_is_found() -> None:
    page = ROOT / "docs" / "RUNS.md"
    assert links("[a](b.md) and `[c](d.md)` [`e`](f.md#g)\n\n```\n[h](i.md)\n```\n") == ["b.md", "f.md#g"]
    assert fault("NOWHERE.md", page) == "not there"
    assert fault("RUNS.md#engines", page) == ""
    assert fault("#nothing-like-it", page) == "no such heading"
    assert fault("http://here", page) == "no address"
    assert fault("https://docs.python.org/3/", page) == ""


def listed(index: Path) -> set[Path]:
    """The pages in the tables of contents of ``index``."""
    trees = re.findall(r"^```\{toctree\}(.*?)^```", index.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    return {index.parent / f"{line}.md" for line in lines}


def test_every_page_is_in_the_site() -> None:
    docs = ROOT / "docs"
    assert listed(docs / "index.md") | listed(docs / "reference" / "index.md") == {*docs.rglob("*.md")} - {
        docs / "index.md"
    }
