"""What a page of the site has from the program itself: its commands with every option, and its public names.

A page asks for them with a directive, ``{commands}`` or ``{public-names}``; they are written in Markdown, as it is.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from docutils import nodes
from plain_docstrings import resolved
from sphinx.util.docutils import SphinxDirective


def of_commands() -> str:
    """Every command in the order of ``toymodels --help``: what it does, how it is called, and each of its options."""
    from typer.main import get_command

    from toymodels.cli import app

    group: Any = get_command(app)
    return "\n".join(_command(name, command) for name, command in group.commands.items() if not command.hidden)


def _command(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = " ".join(command.collect_usage_pieces(context))
    rows = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    lines = [f"## {name}", "", command.help, "", "```text", f"toymodels {name} {usage}", "```", ""]
    lines += ["| | |", "| --- | --- |", *(f"| {_cell('`' + said + '`')} | {_cell(what)} |" for said, what in rows), ""]
    return "\n".join(lines)


def of_names() -> str:
    """A line for each public name of ``import toymodels as tm``: a link, and the first sentence of its docstring."""
    public = importlib.import_module("toymodels.api")
    rows = []
    for name in sorted(public.__all__, key=str.lower):
        found = getattr(public, name)
        said = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split()).replace("``", "`")
        rows.append(f"| {{py:obj}}`tm.{name} <{resolved(name, 'toymodels')}>` | {_cell(said)} |")
    return "\n".join(["| | |", "| --- | --- |", *rows])


def _cell(text: str) -> str:
    """Text as it can stand in a table: outside of code no bracket begins a link, and none a tag."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else re.sub(r"([<\[])", r"\\\1", part) for i, part in enumerate(parts))


class Commands(SphinxDirective):
    """The commands, a section each."""

    def run(self) -> list[nodes.Node]:
        """Parse them as a part of the page."""
        return self.parse_text_to_nodes(of_commands(), allow_section_headings=True)


class PublicNames(SphinxDirective):
    """The table of public names."""

    def run(self) -> list[nodes.Node]:
        """Parse it as a part of the page."""
        return self.parse_text_to_nodes(of_names())


def setup(app: Any) -> dict[str, bool]:
    """Give Sphinx both directives."""
    app.add_directive("commands", Commands)
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
