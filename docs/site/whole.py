"""The site is whole: what a built page loads is beside it, and every link within the site leads to something.

Sphinx checks the links that it makes; this looks at what came out, theme and notebooks included. Links that leave the
site are held to their form alone, as a build has no network.
"""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.errors import SphinxError

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
"""by tag, the attribute whose value a browser fetches without being asked"""


class Page(HTMLParser):
    """One page: what it loads, where it links to, and the places that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what this tag loads, links to and is called."""
        said = {name: value for name, value in attrs if value}
        self.places |= {said[name] for name in ("id", "name") if name in said}
        if tag == "a" and "href" in said:
            self.links.append(said["href"])
        elif tag in LOADED and LOADED[tag] in said:
            self.loads.append(said[LOADED[tag]])


def faults(site: Path) -> list[str]:
    """A sentence for everything that a page of the ``site`` loads from elsewhere, or links to and is not there."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        for url in (*page.loads, *page.links):
            fault = _fault(url, path, pages, loaded=url in page.loads)
            found += [f"{name}: {url}: {fault}"] if fault else []
    return found


def _fault(url: str, path: Path, pages: dict[Path, Page], *, loaded: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme == "data":
        return ""
    if parts.scheme or parts.netloc:
        whole = parts.scheme in ("http", "https") and "." in parts.netloc and " " not in url
        return "loaded from elsewhere" if loaded else "" if whole or parts.scheme == "mailto" else "no address"
    to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not to.exists():
        return "not there"
    return "" if to not in pages or unquote(parts.fragment) in pages[to].places else "no such place on that page"


def on_finished(app: Any, exception: Exception | None) -> None:
    """What Sphinx calls at the end; raises ``SphinxError`` for a site that is not whole."""
    found = faults(Path(app.outdir)) if exception is None and app.builder.format == "html" else []
    if found:
        raise SphinxError("\n".join(("the site is not whole:", *found)))


def setup(app: Any) -> dict[str, bool]:
    """Be asked by Sphinx when every page is written."""
    app.connect("build-finished", on_finished)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
