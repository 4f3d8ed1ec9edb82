"""A sweep file and the options that change it: grid, cases, ``--set``, ``--grid``."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toymodels import Features, Tree
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.assignments import parse_assignment, parse_axis
from toymodels.sweeps.spec.sweep import Sweep, find, parse, read, shipped

BODY = "[features]\nn = 6\ndensity = 0.3\n[model]\nhidden = 2\n"


def sweep(rest: str = "", top: str = "") -> Sweep:
    return parse(f"{top}\n{BODY}{rest}", "file", "file.toml")


def axis(text: str, name: str = "features.density") -> list[Any]:
    return list(sweep(f'[grid]\n"{name}" = {text}\n').grid[name])


def cells(chosen: Sweep) -> list[dict[str, Any]]:
    return [chosen.overrides(cell) for cell in range(len(chosen))]


def refusal(rest: str = "", top: str = "") -> str:
    with pytest.raises(SpecError) as caught:
        sweep(rest, top).settings(0)
    sentence = str(caught.value)
    assert sentence.startswith("file.toml: ")
    return sentence


GRID = """
[grid]
seed = [5, 6]
"model.layer_norm" = [false, true]
"model.activation" = ["relu", "solu"]
"""


def test_cells_are_the_cross_product_keys_sorted_last_fastest() -> None:
    product = itertools.product(["relu", "solu"], [False, True], [5, 6])
    expected = [{"model.activation": a, "model.layer_norm": ln, "seed": s} for a, ln, s in product]
    assert cells(sweep(GRID)) == expected


def test_cases_are_the_slowest_axis() -> None:
    cases = '[[case]]\n"train.steps" = 1\n"train.batch" = 2\n[[case]]\n"train.steps" = 3\n'
    assert cells(sweep("[grid]\nseed = [5, 6]\n" + cases)) == [
        {"train.steps": 1, "train.batch": 2, "seed": 5},
        {"train.steps": 1, "train.batch": 2, "seed": 6},
        {"train.steps": 3, "seed": 5},
        {"train.steps": 3, "seed": 6},
    ]


def test_no_grid_is_one_cell() -> None:
    assert cells(sweep()) == [{}]
    assert sweep().settings(0)["features.n"] == 6


def test_cell_overrides_its_section() -> None:
    chosen = sweep('[grid]\n"features.density" = [0.1, 0.2]\n"train.steps" = [7]\n')
    assert [chosen.settings(cell)["features.density"] for cell in range(2)] == [0.1, 0.2]
    assert chosen.settings(0)["train.steps"] == 7


def test_table_on_the_grid_comes_before_what_is_inside_it() -> None:
    rest = '[[case]]\n"features.frequency.law" = "zipf"\n"features.frequency.exponent" = 2.0\n'
    cell = sweep(rest).settings(0)
    assert (cell["features.frequency.law"], cell["features.frequency.exponent"]) == ("zipf", 2.0)


def test_log_axis_includes_both_ends_and_is_even_in_its_logarithm() -> None:
    values = axis("{ log = [0.01, 0.4, 6] }")
    assert (values[0], values[-1], len(values)) == (0.01, 0.4, 6)
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(40) / 5, rtol=1e-9)


def test_linear_axis_includes_both_ends_and_is_even() -> None:
    values = axis("{ linear = [0.1, 0.4, 4] }")
    np.testing.assert_allclose(values, [0.1, 0.2, 0.3, 0.4], rtol=1e-11)


@pytest.mark.parametrize(
    "text, values", [("{ linear = [4, 64, 16] }", range(4, 65, 4)), ("{ log = [1, 8, 4] }", (1, 2, 4, 8))]
)
def test_whole_grid_values_can_be_sizes(text: str, values: Any) -> None:
    given = axis(text, "model.hidden")
    assert given == list(values)
    assert {type(value) for value in given} == {int}


def test_range_axis_is_half_open() -> None:
    assert axis("{ range = [3, 6] }", "seed") == [3, 4, 5]


@pytest.mark.parametrize("kind", ["log", "linear"])
def test_axis_of_one_is_its_first_end(kind: str) -> None:
    assert axis(f"{{ {kind} = [0.1, 0.4, 1] }}") == [0.1]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "3",
        '"relu"',
        "true",
        "{ range = [3, 3] }",
        "{ range = [5, 2] }",
        "{ range = [0, 8, 2] }",
        "{ range = [0.0, 8] }",
        "{ range = [false, true] }",
        "{ range = 8 }",
        "{ log = [0.1, 1.0] }",
        "{ log = [0.1, 1.0, 0] }",
        "{ log = [0.1, 1.0, -3] }",
        "{ log = [0.1, 1.0, 2.0] }",
        "{ log = [0.1, 1.0, true] }",
        "{ log = [0, 1.0, 3] }",
        "{ log = [-1.0, 1.0, 3] }",
        "{ log = [nan, 1.0, 3] }",
        "{ log = ['a', 1.0, 3] }",
        "{ linear = [0.1, inf, 3] }",
        "{ linear = [0.1, 1.0, 3], log = [0.1, 1.0, 3] }",
        "{ geometric = [0.1, 1.0, 3] }",
        "[0.1, 0.2, 0.1]",
        '["relu", "relu"]',
        "{ linear = [0.1, 0.1, 3] }",
        f"{{ log = [1, 1{'0' * 400}, 3] }}",
        f"{{ linear = [0, 1{'0' * 400}, 3] }}",
        f"{{ range = [0, 1{'0' * 400}] }}",
        f"{{ range = [0, 0x{'f' * 5000}] }}",
        f"[0x{'f' * 5000}]",
    ],
    ids=lambda text: text[:40],
)
def test_axis_that_makes_no_sense_is_refused_by_name(text: str) -> None:
    assert "features.density" in refusal(f'[grid]\n"features.density" = {text}\n')


def test_empty_axis_is_said() -> None:
    assert "expected at least one value" in refusal("[grid]\nseed = []\n")


@pytest.mark.parametrize("table", ["[grid]", "[[case]]"])
@pytest.mark.parametrize(
    "name, nearest",
    [
        ("model.activaton", "did you mean 'model.activation'?"),
        ("features.frequency.exponnent", "did you mean 'features.frequency.exponent'?"),
        ("sed", "did you mean 'seed'?"),
        ("features", ""),
        ("zzz", "expected one of"),
    ],
)
def test_axis_over_an_unknown_setting_names_the_nearest(table: str, name: str, nearest: str) -> None:
    sentence = refusal(f'{table}\n"{name}" = [1, 2]\n')
    assert f"{table}: unknown setting '{name}'" in sentence
    assert nearest in sentence


def axes(*sizes: int) -> str:
    names = ["seed", '"train.steps"', '"train.batch"']
    return "[grid]\n" + "".join(f"{n} = {{ range = [1, {s + 1}] }}\n" for n, s in zip(names, sizes, strict=False))


@pytest.mark.parametrize(
    "rest",
    [
        axes(10**9),
        axes(1000, 1000, 1000),
        axes(5 * 10**6, 200),
        '[grid]\n"features.density" = { linear = [0.1, 0.2, 1000000000] }\n',
        '[grid]\n"features.density" = { linear = [0.1, 0.2, 2000000] }\n"train.steps" = { range = [1, 501] }\n',
    ],
)
def test_grid_of_a_billion_is_refused_at_once(rest: str) -> None:
    begin = time.perf_counter()
    refusal(rest)
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    "rest",
    [
        '[grid]\nseed = [1, 2]\n[[case]]\nseed = 3\n"train.steps" = 4\n',
        '[grid]\n"features.frequency" = ["uniform"]\n[[case]]\n"features.frequency.cap" = 0.5\n',
        '[grid]\n"features.frequency" = ["uniform"]\n"features.frequency.cap" = [0.5, 1.0]\n',
        '[grid]\n"features.firing" = ["independent"]\n"features.firing.groups" = [2, 3]\n',
    ],
)
def test_two_axes_over_one_thing_are_refused(rest: str) -> None:
    assert "keep one of them" in refusal(rest)


@pytest.mark.parametrize(
    "top, rest, words",
    [
        ("question = 3", "", "question: expected a string"),
        ("grid = 3", "", "grid: expected a table"),
        ("case = 3", "", "case: expected [[case]] tables"),
        ("", "[case]\nseed = 1\n", "case: expected [[case]] tables"),
        ("", "[[case]]\n", "case: expected [[case]] tables"),
        ("", "[grid\n", "not valid TOML"),
        ("seed = 1\nseed = 2", "", "not valid TOML"),
        (f"question = {'[' * 5000}{']' * 5000}", "", "not valid TOML"),
        ("colour = 1", "", "unknown key 'colour'"),
        ("train = 3", '[grid]\n"train.steps" = [1, 2]\n', "train: expected"),
        ("seed = 'a'", '[[case]]\n"train.steps" = 2\n', "seed: expected"),
    ],
    ids=lambda text: text[:30],
)
def test_file_that_makes_no_sense_is_one_sentence(top: str, rest: str, words: str) -> None:
    assert words in refusal(rest, top)


def test_set_takes_an_axis_out() -> None:
    assert cells(sweep(GRID).with_setting("seed", 9)) == [
        {"model.activation": a, "model.layer_norm": ln} for a in ("relu", "solu") for ln in (False, True)
    ]
    assert sweep(GRID).with_setting("seed", 9).settings(0)["seed"] == 9


@pytest.mark.parametrize(
    "name, value, axis_name",
    [
        ("features.frequency", "uniform", "features.frequency.cap"),
        ("features.frequency.cap", 0.5, "features.frequency"),
    ],
)
def test_set_takes_out_what_overlaps_it(name: str, value: Any, axis_name: str) -> None:
    values = "[0.6, 0.7]" if axis_name.endswith("cap") else '["uniform"]'
    assert cells(sweep(f'[grid]\n"{axis_name}" = {values}\n').with_setting(name, value)) == [{}]


def test_set_takes_a_setting_out_of_the_cases_and_joins_those_left_alike() -> None:
    rest = "".join(f'[[case]]\n"train.steps" = {s}\n"train.batch" = {b}\n' for s in (1, 2) for b in (3, 4))
    assert cells(sweep(rest).with_setting("train.steps", 5)) == [{"train.batch": 3}, {"train.batch": 4}]


def test_set_keeps_the_case_that_set_nothing_else() -> None:
    chosen = sweep('[[case]]\n"train.steps" = 1\n[[case]]\n"train.batch" = 4\n').with_setting("train.steps", 5)
    assert sorted(chosen.settings(cell)["train.batch"] for cell in range(len(chosen))) == [4, 1024]


def test_set_over_every_case_leaves_one_cell() -> None:
    chosen = sweep('[[case]]\n"train.steps" = 1\n[[case]]\n"train.steps" = 2\n').with_setting("train.steps", 5)
    assert cells(chosen) == [{}]


def test_grid_replaces_an_axis_and_adds_one() -> None:
    chosen = sweep("[grid]\nseed = [5, 6]\n").with_axis("seed", [7]).with_axis("train.steps", {"range": [1, 3]})
    assert cells(chosen) == [{"seed": 7, "train.steps": 1}, {"seed": 7, "train.steps": 2}]


def test_grid_takes_its_setting_out_of_the_cases() -> None:
    rest = '[[case]]\nseed = 1\n"train.steps" = 5\n[[case]]\nseed = 1\n"train.steps" = 6\n'
    assert cells(sweep(rest).with_axis("seed", [2, 3])) == [
        {"train.steps": steps, "seed": seed} for steps in (5, 6) for seed in (2, 3)
    ]


def test_options_leave_the_sweep_alone() -> None:
    chosen = sweep(GRID)
    before = cells(chosen)
    chosen.with_setting("seed", 1)
    chosen.with_axis("seed", [1, 2, 3])
    assert cells(chosen) == before


@pytest.mark.parametrize("option", ["with_setting", "with_axis"])
@pytest.mark.parametrize("name", ["sed", "features", "", "model.", "--out"])
def test_option_over_an_unknown_setting_is_refused(option: str, name: str) -> None:
    with pytest.raises(SpecError, match="unknown setting"):
        getattr(sweep(), option)(name, [1])


@pytest.mark.parametrize(
    "text, value",
    [
        ("seed=3", 3),
        (" seed = 3 ", 3),
        ("seed=1e-3", 1e-3),
        ("seed=true", True),
        ("seed=solu", "solu"),
        ('seed="solu"', "solu"),
        ("seed=[1, 2]", [1, 2]),
        ('seed={ law = "zipf", exponent = 1.2 }', {"law": "zipf", "exponent": 1.2}),
        ("seed=a=b", "a=b"),
        ("seed=1\nmodel=2", "1\nmodel=2"),
    ],
)
def test_assignment_is_a_toml_value_or_a_word(text: str, value: Any) -> None:
    assert parse_assignment(text, "--set") == ("seed", value)


@pytest.mark.parametrize("parse_option", [lambda text: parse_assignment(text, "--set"), parse_axis])
@pytest.mark.parametrize("text", ["", "seed", "=3", "seed=", " = ", "==", "seed= "])
def test_option_without_key_or_value_is_refused(parse_option: Any, text: str) -> None:
    with pytest.raises(SpecError, match="expected KEY="):
        parse_option(text)


@pytest.mark.parametrize(
    "text, values",
    [
        ("seed=3", [3]),
        ("seed=3,4", [3, 4]),
        ("seed=[3, 4]", [3, 4]),
        ("seed=relu,gelu", ["relu", "gelu"]),
        ("seed= relu , gelu ", ["relu", "gelu"]),
        ("seed=1e-5,matched", [1e-5, "matched"]),
        ("seed=false,true", [False, True]),
        ("seed={ range = [0, 8] }", {"range": [0, 8]}),
        ("seed={ log = [0.01, 1, 3] }", {"log": [0.01, 1, 3]}),
        ('seed={ law = "uniform" }', [{"law": "uniform"}]),
        (
            'seed={ law = "uniform" }, { law = "zipf", exponent = 1 }',
            [{"law": "uniform"}, {"law": "zipf", "exponent": 1}],
        ),
        (
            'seed=[{ law = "uniform" }, { law = "zipf", exponent = 1 }]',
            [{"law": "uniform"}, {"law": "zipf", "exponent": 1}],
        ),
    ],
)
def test_grid_option_is_a_list_or_an_axis_table(text: str, values: Any) -> None:
    assert parse_axis(text) == ("seed", values)


def test_a_tree_is_set_whole_and_in_its_parts() -> None:
    name, value = parse_assignment(
        "features.firing={ kind = 'tree', children = 2, depth = 1, any_child = 0.8 }", "--set"
    )
    chosen = sweep().with_setting(name, value)
    assert chosen.settings(0).experiment("file.toml").features == Features(6, 0.3, firing=Tree(2, 1, 0.8))
    part = chosen.with_setting(*parse_assignment("features.firing.children=5", "--set"))
    swept = part.with_axis(*parse_axis("features.firing.any_child=0.9,1.0"))
    made = [swept.settings(cell).experiment("file.toml").features for cell in range(len(swept))]
    assert made == [Features(6, 0.3, firing=Tree(5, 1, q)) for q in (0.9, 1.0)]
    with pytest.raises(SpecError, match="firing 'tree' needs children"):
        sweep().with_setting("features.firing", "tree").settings(0)


@pytest.mark.parametrize("text", ["seed=,", "seed={ range = [3, 3] }", "seed=1,1", "seed={ log = [0, 1, 3] }"])
def test_grid_option_without_sense_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="--grid"):
        sweep().with_axis(*parse_axis(text))


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        read(tmp_path / "nothing.toml")


def test_file_that_is_not_text_is_said(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00seed")
    for name in ("binary.toml", ".", "x\0y.toml", "n" * 5000):
        with pytest.raises(SpecError, match=r"cannot be read|is a folder"):
            read(tmp_path / name)


def test_name_is_a_shipped_sweep_and_a_path_is_a_file() -> None:
    assert find("two_tiers") == shipped()["two_tiers"]
    assert find("two_tiers.toml") == Path("two_tiers.toml")
    assert find("./two_tiers") == Path("two_tiers")


@pytest.mark.parametrize("name, nearest", [("two_tier", "two_tiers"), ("tms_inro", "tms_intro")])
def test_unknown_shipped_sweep_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SpecError, match=f"did you mean '{nearest}'"):
        find(name)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_sweep_asks_a_question(name: str) -> None:
    path = shipped()[name]
    assert read(path).question.endswith("?")
    assert path.read_text().startswith("question = ")


def test_a_byte_order_mark_before_a_sweep_file_is_skipped(tmp_path: Path) -> None:
    text = 'question = "Größer?"\n[features]\nn = 5\ndensity = 0.1\n[model]\nhidden = 2\n'
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read(tmp_path / "bom.toml").question == "Größer?"
    assert read(tmp_path / "bom.toml") == parse(text, "bom", str(tmp_path / "bom.toml"))
