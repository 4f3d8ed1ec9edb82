"""What makes the site: docstrings as they are written, the commands, the public names, and a site that is whole."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"


def part(name: str) -> ModuleType:
    """A file of docs/site, which is on no path but Sphinx's."""
    spec = importlib.util.spec_from_file_location(name, SITE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


plain = part("plain_docstrings")
whole = part("whole")


def rst(text: str, where: str = "toymodels.activations") -> str:
    return "\n".join(plain.as_rst(text.splitlines(), where)).replace("\\ ", "").strip()


def test_signs_of_our_docstrings_mean_nothing_to_sphinx() -> None:
    assert rst("D_i = |W_i|^2, [model, feature]; z * s") == r"D\_i = \|W\_i\|^2, \[model, feature\]; z \* s"
    assert rst("- log rho, no list") == r"\- log rho, no list"
    assert rst("*Softmax Linear\nUnits* (2022)") == "*Softmax Linear Units* (2022)"


def test_a_name_becomes_a_link_and_code_stays_code() -> None:
    assert rst("See `SoLU` and ``dim``.") == "See :py:obj:`SoLU <toymodels.activations.SoLU>` and ``dim``."
    assert rst("`nothing_of_ours`") == "``nothing_of_ours``"


@pytest.mark.parametrize(
    "name, where, full",
    [
        ("SoLU", "toymodels.api", "toymodels.activations.SoLU"),
        ("tm.Zipf", "toymodels.features", "toymodels.laws.Zipf"),
        ("models", "toymodels.sweeps.results.reading.Run", "toymodels.sweeps.results.reading.Run.models"),
        ("toymodels.gains", "toymodels.bottleneck", "toymodels.gains"),
        ("moment_table.TAPS", "toymodels.metrics.dictionaries.truth", "toymodels.engines.moment_table.TAPS"),
    ],
)
def test_names_are_resolved_where_they_stand(name: str, where: str, full: str) -> None:
    assert plain.resolved(name, where) == full


def test_indented_lines_stay_as_they_are() -> None:
    assert rst("Two:\n\n    z = W_in x\n    a = act(z)\n\nThen.") == (
        "Two:\n\n.. code-block:: text\n\n    z = W_in x\n    a = act(z)\n\nThen."
    )


def test_a_setting_says_what_it_is() -> None:
    from toymodels.bottleneck import Bottleneck
    from toymodels.checks import declared

    lines = plain.settings_of(Bottleneck)
    assert [line.split(":")[1] for line in lines] == [f"param {name}" for name in declared(Bottleneck)]


def test_every_command_and_option_is_on_the_page() -> None:
    from typer.main import get_command

    from toymodels.cli import app

    page = part("generated").of_commands()
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    assert list(sections) == list(commands)
    for name, command in commands.items():
        options = {option for each in command.params for option in each.opts if option.startswith("--")}
        assert options <= set(re.findall(r"--[\w-]+", sections[name])), name


def test_every_public_name_is_on_the_page() -> None:
    import toymodels.api as public

    assert set(re.findall(r"`tm\.(\w+) <toymodels\.", part("generated").of_names())) == set(public.__all__)


def test_what_is_loaded_from_elsewhere_or_not_there_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<h1 id="x">a</h1><a href="b.html#y"></a><a href="#x"></a><a href="c.html"></a>')
    (tmp_path / "b.html").write_text(
        '<script src="https://cdn.example.org/a.js"></script><img src="data:image/png;base64,"><a href="https://a.org"></a>'
    )
    assert whole.faults(tmp_path) == [
        "a.html: b.html#y: no such place on that page",
        "a.html: c.html: not there",
        "b.html: https://cdn.example.org/a.js: loaded from elsewhere",
    ]


def test_every_notebook_is_run_and_can_be_downloaded() -> None:
    for page in (ROOT / "docs" / "notebooks").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("---\nfile_format: mystnb\n"), page
        assert len(re.findall(r"^```\{code-cell\} ipython3$", text, re.MULTILINE)) >= 5, page
        assert f"<{page.stem}.ipynb>`" in text, page
        assert "skip-execution" not in text, page
        assert "raises-exception" not in text, page


def test_every_formula_of_the_pages_can_be_written() -> None:
    from docutils.utils.math.latex2mathml import tex2mathml

    found = 0
    for page in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.sub(r"`[^`\n]*`", "", text), re.DOTALL):
            assert tex2mathml(block or inline).startswith("<math"), page
            found += 1
    assert found > 20
