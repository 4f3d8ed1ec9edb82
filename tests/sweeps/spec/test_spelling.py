"""Spelling: Python's numbers and truth values on the command line, and a hint where a file has them."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
from toymodels.sweeps.spec.spelling import HINT, as_toml, parsed
from toymodels.sweeps.spec.sweep import parse


@pytest.mark.parametrize(
    "text, value",
    [
        ("True", True),
        ("False", False),
        ("true", True),
        (".1", 0.1),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1.e-3", 1e-3),
        ("1e-3", 1e-3),
        (".5e2", 50.0),
        ("solu", "solu"),
        ("'True'", "True"),
        ('".1"', ".1"),
        ("1.2.3", "1.2.3"),
        ("[.1, .2]", [0.1, 0.2]),
        ("[True, False]", [True, False]),
        ('{ law = "zipf", exponent = .5 }', {"law": "zipf", "exponent": 0.5}),
        ("Trueish", "Trueish"),
    ],
)
def test_an_assignment_in_either_spelling(text: str, value: Any) -> None:
    name, given_value = parse_assignment(f"model.x={text}", "--set")
    assert name == "model.x"
    assert given_value == value
    assert type(given_value) is type(value)


@pytest.mark.parametrize(
    "text, values",
    [
        (".1,.2", [0.1, 0.2]),
        ("True,False", [True, False]),
        ("gelu,solu", ["gelu", "solu"]),
        ("1.,2.", [1.0, 2.0]),
        ("{ log = [.01, 1., 3] }", {"log": [0.01, 1.0, 3]}),
    ],
)
def test_an_axis_in_either_spelling(text: str, values: Any) -> None:
    assert parse_axis(f"x={text}") == ("x", values)


@pytest.mark.parametrize("wrong", ["tied = True", "init_scale = .5", "init_scale = 2."])
def test_a_file_that_spells_like_python_is_told_so(wrong: str) -> None:
    text = f"[features]\nn = 5\ndensity = 0.1\n[model]\nhidden = 2\n{wrong}\n"
    with pytest.raises(SpecError) as error:
        parse(text, "python", "python.toml")
    assert str(error.value).startswith("python.toml: not valid TOML")
    assert str(error.value).endswith(HINT)
    with pytest.raises(SpecError) as error:
        parse("[features\nn = 5", "broken", "broken.toml")
    assert HINT not in str(error.value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_toml_reads_is_never_read_otherwise(number: float) -> None:
    for text in (f"v = {number!r}", f"v = '{number!r}'", f'v = "True .5 {number!r}"'):
        try:
            expected = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        assert parsed(text) == expected
        assert tomllib.loads(as_toml(text)) == expected
