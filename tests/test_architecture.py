"""Imports run downwards only: cli -> figures, sweeps -> toymodels; and the science knows no files and no tables."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOVE = {
    "toymodels": {"toymodels.sweeps", "toymodels.figures", "toymodels.cli"},
    "sweeps": {"toymodels.figures", "toymodels.cli"},
    "figures": {"toymodels.cli"},
}
ROOMS = ("spec", "plan", "store", "results", "execution", "verdict", "studies", "console")
"""of ``sweeps/``: each imports only itself and those before it"""
LINES = 300
LONG = {"toymodels.kernels.vector"}
"""the modules that may have more lines than `LINES`"""
LINKS = {"sweeps": "../sweeps", "figures": "../figures", "cli.py": "../cli.py"}
EDGE = {"pydantic", "pandas", "pyarrow", "matplotlib", "jinja2", "typer", "rich", "safetensors", "tomli_w", "tomllib"}
EDGE |= {"psutil"}


def files(package: str) -> list[Path]:
    """Its modules; of the science not those that it has through links."""
    found = (path for path in (ROOT / package).rglob("*.py") if not path.is_symlink())
    return sorted(path for path in found if path.resolve().is_relative_to(ROOT / package))


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """Every package imported for more than its types, anywhere in the file, and whether when the module is.

    Of toymodels, the rooms: ``toymodels.sweeps``, not what is in it.
    """

    def room(module: str) -> str:
        return ".".join(module.split(".")[: 2 if module.startswith("toymodels") else 1])

    def walk(node: ast.AST, at_module_level: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((room(alias.name), at_module_level) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "imports are absolute"
                whole = [f"toymodels.{alias.name}" for alias in child.names] if child.module == "toymodels" else []
                yield from ((room(name), at_module_level) for name in (child.module or "", *whole))
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_module_level and not inside)

    return walk(tree, True)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def modules() -> dict[str, Path]:
    """Every module of the program by its name, of the package under which it is imported."""
    found = {f"toymodels.{name}": files(name) for name in ("sweeps", "figures")} | {"toymodels": files("toymodels")}
    named = {"toymodels.cli": ROOT / "cli.py"}
    for top, paths in found.items():
        folder = ROOT / top.rpartition(".")[2]
        for path in paths:
            parts = path.relative_to(folder).with_suffix("").parts
            named[".".join((top, *parts)).removesuffix(".__init__")] = path
    return named


def graph(named: dict[str, Path]) -> dict[str, set[str]]:
    """Of every module those that it imports when it is imported itself, but for their types alone."""
    needs: dict[str, set[str]] = {}
    for name, path in named.items():
        found = needs.setdefault(name, set())
        tops = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for node in tops:
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & named.keys()
                continue
            within = {f"{node.module}.{alias.name}" for alias in node.names} & named.keys()
            whole = len(within) < len(node.names)
            found |= within | ({node.module or ""} & named.keys() if whole else set())
    return needs


def circles(needs: dict[str, set[str]]) -> set[str]:
    """The modules that are in a circle, or only reach the end through one: those that no order can begin with."""
    left = dict(needs)
    while ready := {name for name, found in left.items() if not found & left.keys()}:
        left = {name: found for name, found in left.items() if name not in ready}
    return set(left)


def test_no_circle_among_modules() -> None:
    assert circles({"a": {"b"}, "b": {"a"}, "c": set()}) == {"a", "b"}
    needs = graph(modules())
    assert "toymodels.bottleneck" in needs["toymodels.surgery.operating"]
    assert circles(needs) == set()


def test_rooms_of_sweeps_import_only_those_above_them() -> None:
    named = modules()
    rooms = [name for name in named if name.startswith("toymodels.sweeps.") and name != "toymodels.sweeps.errors"]
    for name in rooms:
        room = ROOMS.index(name.split(".")[2])
        for node in ast.walk(parsed(named[name])):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("toymodels.sweeps"):
                inside = node.module.split(".")[2:] if node.module else []
                below = inside[:1] or [alias.name for alias in node.names]
                assert all(each == "errors" or ROOMS.index(each) <= room for each in below), (name, node.module)


def test_nothing_but_errors_stands_outside_the_rooms_of_sweeps() -> None:
    assert {path.name for path in (ROOT / "sweeps").glob("*.py")} == {"__init__.py", "errors.py"}
    assert {path.name for path in (ROOT / "sweeps").iterdir() if (path / "__init__.py").exists()} == set(ROOMS)


def test_no_file_is_longer_than_one_idea() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: n for name, n in lines.items() if n > LINES and name not in LONG} == {}


@pytest.mark.parametrize("package", ABOVE)
def test_nothing_imports_upwards(package: str) -> None:
    assert files(package)
    for path in files(package):
        found = {name for name, _ in imports(parsed(path))}
        assert not found & ABOVE[package] or path.name == "__main__.py", path


def test_the_science_imports_neither_files_nor_tables_nor_drawing() -> None:
    for path in files("toymodels"):
        assert not {name for name, _ in imports(parsed(path))} & EDGE, path


def test_the_top_level_folders_are_linked_into_the_package() -> None:
    for name, target in LINKS.items():
        assert (ROOT / "toymodels" / name).readlink().as_posix() == target


def test_importlib_is_called_where_the_package_opens_alone() -> None:
    callers = []
    for path in files("toymodels"):
        for function in ast.walk(parsed(path)):
            if isinstance(function, ast.FunctionDef) and "import_module" in ast.unparse(function):
                callers.append((path.relative_to(ROOT).as_posix(), function.name))
        assert "__import__" not in path.read_text(encoding="utf-8")
    assert callers == [
        ("toymodels/__init__.py", "__getattr__"),
        ("toymodels/__init__.py", "__dir__"),
        ("toymodels/api.py", "__getattr__"),
        ("toymodels/api.py", "sweep"),
        ("toymodels/api.py", "draw"),
        ("toymodels/api.py", "answer"),
        ("toymodels/api.py", "host"),
        ("toymodels/api.py", "keep_host"),
        ("toymodels/api.py", "load"),
    ]


def test_what_a_file_names_is_imported_in_one_place() -> None:
    """The others import a module of this package, whose name they have from a list of it."""
    callers = [path for package in ("sweeps", "figures") for path in files(package)]
    found = {path.relative_to(ROOT).as_posix() for path in callers if "import_module" in path.read_text()}
    assert found == {"sweeps/spec/importing.py", "sweeps/studies/__init__.py", "figures/making.py"}


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, Path] = {}
    for path in (path for package in ABOVE for path in files(package)):
        for each in (node for node in parsed(path).body if isinstance(node, ast.ClassDef)):
            assert each.name not in found, f"{each.name}: in {path} and in {found[each.name]}"
            found[each.name] = path


@pytest.mark.parametrize("package", ["toymodels", "sweeps", "figures"])
def test_nothing_read_can_be_run(package: str) -> None:
    for path in [*files(package), ROOT / "cli.py"]:
        for call in (node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)):
            assert ast.unparse(call.func) not in {
                "eval",
                "exec",
                "compile",
                "torch.load",
                "pickle.load",
                "pickle.loads",
            }
        assert not {name for name, _ in imports(parsed(path))} & {"pickle", "marshal", "shelve", "joblib"}, path


def loaded(code: str) -> set[str]:
    """The packages that a fresh process has loaded after ``code``, and the modules of toymodels."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, *sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )


def test_the_door_opens_without_anything_heavy() -> None:
    names = loaded("import toymodels.cli")
    assert "typer" in names
    assert not names & {
        "torch",
        "numpy",
        "pandas",
        "pyarrow",
        "matplotlib",
        "numba",
        "scipy",
        "rich",
        "toymodels.sweeps.spec",
        "toymodels.sweeps.store",
        "toymodels.sweeps.execution",
        "toymodels.sweeps.results",
    }


def test_sweeps_and_figures_are_listed_without_the_science() -> None:
    names = loaded(
        "import sys; sys.argv = ['toymodels', 'list']\nfrom toymodels.cli import app\napp(standalone_mode=False)"
    )
    assert "toymodels.sweeps.spec.shipped" in names
    assert not names & {"torch", "pandas", "scipy", "numba"}


def test_the_science_loads_where_nothing_of_the_edge_is_installed() -> None:
    absent = sorted(EDGE - {"tomllib", "psutil", "rich"})
    names = loaded(f"sys.modules.update(dict.fromkeys({absent}))\nimport toymodels; toymodels.train")
    assert "toymodels.engines" in names
    assert not names & {"toymodels.sweeps", "toymodels.figures", "toymodels.cli"}


def test_every_module_can_be_imported_first_and_every_public_name_is_there() -> None:
    modules = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files("toymodels")]
    for module in ("toymodels.features", "toymodels.random", "toymodels.sweeps.plan.plan", "toymodels.figures"):
        loaded(f"import {module}")
    assert "toymodels.features" in modules
    loaded(
        "import toymodels as tm\nfrom toymodels import *\nassert Zipf is tm.Zipf and 'Zipf' in dir(tm) and tm.surgery"
    )
