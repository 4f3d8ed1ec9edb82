"""Whatever is written in a sweep file or after an option, the answer is a valid plan or one `SpecError`, and soon."""

from __future__ import annotations

import contextlib
import copy
from datetime import date, timedelta
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
from toymodels.sweeps.spec.names import setting_names
from toymodels.sweeps.spec.resolved import resolved_toml
from toymodels.sweeps.spec.settings import Settings, validate
from toymodels.sweeps.spec.sweep import Sweep, parse

FEW = 50
fuzz = settings(
    max_examples=300, deadline=timedelta(seconds=5), suppress_health_check=[HealthCheck.too_slow], derandomize=True
)

VALID: dict[str, Any] = {
    "question": "why?",
    "seed": 0,
    "features": {
        "n": 6,
        "density": 0.3,
        "frequency": {"law": "zipf", "exponent": 1.2, "cap": 0.5},
        "importance": {"law": "geometric", "ratio": 0.9},
        "firing": {"kind": "correlated", "groups": 2},
    },
    "model": {"hidden": 2, "activation": "solu", "layer_norm": True, "layer_norm_eps": "matched"},
    "train": {"steps": 30, "batch": 16, "learning_rate": 0.01},
    "eval": {"samples": 256},
    "grid": {
        "features.density": {"log": [0.1, 0.3, 3]},
        "model.init_scale": {"log_uniform": [0.5, 2.0], "n": 1},
        "model.tied": [False, True],
        "seed": {"range": [0, 2]},
    },
    "case": [{"train.schedule": "cosine"}, {"train.optimizer": "sgd", "train.weight_decay": 0.1}],
    "tune": {"seeds": [1000], "steps": 0.5, "train.learning_rate": [0.01, 0.1]},
}

LAWS = ["zipf", "uniform", "geometric", "list", "one", "correlated"]
CHOICES = ["relu", "solu", "linear", "matched", "adam", "sgd", "int", "float", "range", "log", "uniform", "log_uniform"]
WORDS = st.sampled_from([*LAWS, *CHOICES, "mine:Cube"])
HUGE = "0x" + "f" * 5000  # too long for Python to print in decimals, and so for hypothesis
NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, 2**63, 2**63 - 1, 10**9]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 0.3, 1.0, 1.5, 1e-5, 5e-324, 1e308]),
)
SPELLED = st.one_of(NUMBERS.map(str), st.just(HUGE))
SCALARS = st.one_of(st.booleans(), NUMBERS, WORDS, st.text(max_size=8), st.just(date(1979, 5, 27)))
PARTS = [
    "features",
    "model",
    "task",
    "train",
    "eval",
    "grid",
    "case",
    "tune",
    "question",
    "metrics",
    "seed",
    "law",
    "kind",
    "values",
    "uniform",
    "log_uniform",
]
KEYS = st.one_of(
    st.sampled_from([*PARTS, *sorted(setting_names()), "int", "float", "n", "density"]), st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)


def judge(make: Any) -> Sweep | None:
    """A sweep whose first cells are valid, or None after one `SpecError`; anything else is a failure."""
    try:
        chosen: Sweep = make()
        if len(chosen) <= FEW:
            made = make_plan(chosen)
            assert len(made) == len(chosen)
            return chosen
        for cell in (0, len(chosen) - 1):
            chosen.settings(cell).experiment(chosen.where)
    except SpecError as error:
        return None if str(error).strip() else pytest.fail("an error that says nothing")
    return None


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The valid document with up to three places replaced, removed or added to."""
    document = copy.deepcopy(VALID)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(document)[1:]))
        above, key = at(document, path[:-1]), path[-1]
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                above[key] = draw(VALUES)
            case "remove":
                del above[key]
            case _ if isinstance(above, dict):
                above[draw(KEYS)] = draw(VALUES)
            case _:
                above.append(draw(VALUES))
        if len(places(document)) < 2:
            break
    return document


def toml(document: dict[str, Any]) -> str | None:
    """The document as TOML; None for what TOML cannot write."""
    try:
        return tomli_w.dumps(document)
    except (ValueError, TypeError):
        return None


def test_the_valid_document_is_valid() -> None:
    chosen = judge(lambda: parse(tomli_w.dumps(VALID), "file", "file.toml"))
    assert chosen is not None
    assert len(chosen) == 24


@fuzz
@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    judge(lambda: parse(text, "file", "file.toml"))


@fuzz
@given(
    st.lists(
        st.sampled_from([*"[]{}=.,\"'\n# ", "1", "nan", "seed", "grid", "features", "[[case]]", "0x", "1e"]),
        max_size=40,
    )
)
def test_random_pieces_of_toml(pieces: list[str]) -> None:
    judge(lambda: parse("".join(pieces), "file", "file.toml"))


@fuzz
@given(DOCUMENTS)
def test_random_document(document: dict[str, Any]) -> None:
    text = toml(document)
    if text is not None:
        judge(lambda: parse(text, "file", "file.toml"))


@fuzz
@given(st.one_of(DOCUMENTS, mutated()))
def test_random_dict_as_one_cell(document: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(validate(document, "file.toml"), Settings)


@fuzz
@given(mutated())
def test_mutated_document(document: dict[str, Any]) -> None:
    text = toml(document)
    if text is None:
        return
    chosen = judge(lambda: parse(text, "file", "file.toml"))
    if chosen is not None:
        again = parse(resolved_toml(chosen), "file", "sweep.toml")
        assert make_plan(again).hash == make_plan(chosen).hash


@fuzz
@given(st.data())
def test_mutated_text(data: st.DataObject) -> None:
    text = tomli_w.dumps(VALID)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    text = text[:start] + data.draw(st.one_of(st.text(max_size=4), WORDS, SPELLED)) + text[end:]
    judge(lambda: parse(text, "file", "file.toml"))


OPTIONS = st.one_of(
    st.text(max_size=12),
    st.tuples(
        st.one_of(KEYS, st.sampled_from(sorted(setting_names()))),
        st.one_of(st.text(max_size=12), WORDS, SPELLED),
    ).map("=".join),
    st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]}={(toml({'v': pair[1]}) or '').removeprefix('v = ')}"),
)


@fuzz
@given(OPTIONS)
def test_random_option(text: str) -> None:
    chosen = parse(tomli_w.dumps(VALID), "file", "file.toml")
    judge(lambda: chosen.with_setting(*parse_assignment(text, "--set")))
    judge(lambda: chosen.with_axis(*parse_axis(text)))
