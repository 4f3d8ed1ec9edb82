"""Docstrings as they are written here, made into what Sphinx reads.

They are plain text: ``[model, hidden]`` is a shape, ``|W_i|`` a norm and a name in single backticks another object of
the program, which becomes a link. Indented lines are formulas or code and stay as they stand. A setting says in its
declaration what it is and what it may be; that is put beneath its class.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from docutils import nodes

MARKED = re.compile(
    r"``(?P<code>.+?)``|`(?P<name>[^`]+)`|(?P<strong>\*\*[^*\s][^*]*\*\*)|(?<![\w*])(?P<title>\*\w[^*]*\*)", re.S
)
"""what has a meaning in our docstrings: code, a name, words set strong, a title"""
SPECIAL = re.compile(r"([\\*`|_\[\]])")
LISTED = re.compile(r"(?:[-+•:>]|\.\.|\(?\w{1,3}[.)]\s)")
"""what would begin a list, a field or a directive"""


def as_rst(lines: list[str], where: str) -> list[str]:
    """A docstring of the object ``where``, as reStructuredText."""
    blocks = re.split(r"\n\s*\n", "\n".join(lines).expandtabs())
    found: list[str] = []
    for block in (each.strip("\n") for each in blocks if each.strip()):
        if block.startswith("  "):
            found += [".. code-block:: text", "", *block.splitlines(), ""]
            continue
        text, _, formula = block.partition("\n    ")
        items = re.split(r"\n(?=\* )", text) if text.startswith("* ") else [text]
        for item in items:
            bullet = "* " if item.startswith("* ") else ""
            found += [bullet + _inline(" ".join(item.removeprefix(bullet).split()), where)]
        found += ["", *([".. code-block:: text", "", *f"    {formula}".splitlines(), ""] if formula else [])]
    return found


def _inline(text: str, where: str) -> str:
    """One paragraph, of which only code, names, strong words and titles are marked."""
    parts, end = [], 0
    for match in MARKED.finditer(text):
        parts += [SPECIAL.sub(r"\\\1", text[end : match.start()]), r"\ ", _mark(match, where), r"\ "]
        end = match.end()
    escaped = "".join([*parts, SPECIAL.sub(r"\\\1", text[end:])])
    return f"\\{escaped}" if LISTED.match(escaped) else escaped


def _mark(match: re.Match[str], where: str) -> str:
    if name := match["name"]:
        target = resolved(name, where)
        return f":py:obj:`{name} <{target}>`" if target else f"``{name}``"
    code = match["code"]
    return f"``{code}``" if code else SPECIAL.sub(r"\\\1", match[0]).replace(r"\*", "*")


@cache
def resolved(name: str, where: str) -> str | None:
    """The full name of what ``name`` means in the docstring of ``where``; None where it names nothing of ours."""
    plain = name.removesuffix("()").removeprefix("tm.")
    for start in _scopes(where):
        if found := _within(start, plain.removeprefix("toymodels.")):
            return found
    return None


def _scopes(where: str) -> Iterator[Any]:
    """The classes and the module that ``where`` is in, innermost first; then the package and all of its modules."""
    parts = where.split(".")
    for end in range(len(parts), 0, -1):
        yield importlib.import_module("toymodels") if end == 1 else _object(".".join(parts[:end]))
    yield from _modules()


def _object(dotted: str) -> Any:
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


@cache
def _modules() -> list[ModuleType]:
    """The packages of the program, in which a module may be named by its last name alone."""
    package = importlib.import_module("toymodels")
    packages = (each.name for each in pkgutil.walk_packages(package.__path__, "toymodels.") if each.ispkg)
    return [importlib.import_module(name) for name in packages]


def _within(scope: Any, dotted: str) -> str | None:
    """The full name of ``dotted`` if it begins in ``scope``."""
    owner, found = None, scope
    for part in dotted.split("."):
        owner, found = found, _member(found, part)
        if found is MISSING:
            return None
    last = dotted.rpartition(".")[2]
    if isinstance(found, ModuleType):
        return found.__name__ if found.__name__.startswith("toymodels") else None
    if inspect.isclass(found) or inspect.isfunction(found):
        return f"{found.__module__}.{found.__qualname__}" if found.__module__.startswith("toymodels") else None
    if inspect.isclass(owner):
        return f"{owner.__module__}.{owner.__qualname__}.{last}"
    return f"{owner.__name__}.{last}" if isinstance(owner, ModuleType) else None


MISSING = object()


def _member(scope: Any, name: str) -> Any:
    found = inspect.getattr_static(scope, name, MISSING)
    if found is not MISSING:
        return found
    if inspect.isclass(scope):
        return None if any(name in vars(each).get("__annotations__", {}) for each in scope.__mro__) else MISSING
    if isinstance(scope, ModuleType):
        public = importlib.import_module("toymodels.api")
        if scope.__name__ == "toymodels" and name in public.__all__:
            return getattr(public, name)
        submodule = f"{scope.__name__}.{name}"
        if hasattr(scope, "__path__") and name.isidentifier() and importlib.util.find_spec(submodule):
            return importlib.import_module(submodule)
    return MISSING


def settings_of(kind: Any) -> list[str]:
    """A line for each setting that a class declares: its name and what it is."""
    if not (inspect.isclass(kind) and dataclasses.is_dataclass(kind)):
        return []
    says = {each.name: each.metadata["setting"].says for each in dataclasses.fields(kind) if "setting" in each.metadata}
    where = f"{kind.__module__}.{kind.__qualname__}"
    return [f":param {name}: {_inline(text, where)}" for name, text in says.items()]


def on_signature(
    app: Any, what: str, name: str, found: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """What Sphinx calls with every signature: a default that is made anew for each is shown as what is made."""
    if what != "class" or not dataclasses.is_dataclass(found) or arguments is None:
        return arguments, returned
    made = [each.default_factory for each in dataclasses.fields(found)]
    for factory in (each for each in made if each is not dataclasses.MISSING):
        arguments = arguments.replace("<factory>", repr(factory()), 1)
    return arguments, returned


def on_docstring(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """What Sphinx calls with every docstring, to change its ``lines`` in place."""
    lines[:] = [*as_rst(lines, name), *(settings_of(found) if what == "class" else []), ""]


def on_missing(app: Any, env: Any, node: Any, contnode: nodes.Node) -> nodes.Node | None:
    """What is named and has no page stays a name, if there is such a thing; a name of nothing is a warning."""
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    ours = target.startswith("toymodels")
    return contnode if not ours or resolved(target, "toymodels") else None


def setup(app: Any) -> dict[str, bool]:
    """Be asked by Sphinx for every docstring, and for every name that it knows no page of."""
    app.connect("autodoc-process-docstring", on_docstring)
    app.connect("autodoc-process-signature", on_signature)
    app.connect("missing-reference", on_missing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
