"""The spec: what one cell may say, the sentence for what it may not, and the key of what it says."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from toymodels import Embedding, Features, Tree
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.names import check_name, setting_names
from toymodels.sweeps.spec.schema import DEFAULTS
from toymodels.sweeps.spec.settings import Settings, override, validate

BASE: dict[str, Any] = {"features": {"n": 6, "density": 0.3}, "model": {"hidden": 2}}
ZIPF = {"law": "zipf", "exponent": 1.0}


def settings(**named: Any) -> Settings:
    """``BASE`` with settings by dotted name, ``__`` standing for the dot."""
    raw = copy.deepcopy(BASE)
    for name, value in named.items():
        raw = override(raw, name.replace("__", "."), value)
    return validate(raw, "file.toml")


def refusal(name: str, value: Any) -> str:
    """The sentence with which one setting is refused, by the spec or by the science behind it."""
    raw = override(copy.deepcopy(BASE), name, value)
    with pytest.raises(SpecError) as caught:
        validate(raw, "file.toml").experiment("file.toml")
    sentence = str(caught.value)
    assert sentence.startswith("file.toml: ")
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("features.densty", "density"),
        ("features.frequency.exponant", "exponent"),
        ("features.importance.shufle", "shuffle"),
        ("features.firing.group", "groups"),
        ("model.activaton", "activation"),
        ("model.layernorm", "model.layer_norm"),
        ("task.targt", "target"),
        ("train.learning_rte", "learning_rate"),
        ("eval.sample", "samples"),
        ("modle", "model"),
        ("seeds", "seed"),
        ("gird", "grid"),
    ],
)
def test_unknown_key_is_named_with_the_nearest(name: str, nearest: str) -> None:
    sentence = refusal(name, 1)
    assert f"'{name}'" in sentence
    assert f"did you mean '{nearest}'" in sentence


@pytest.mark.parametrize(
    "name", ["int", "float", "literal[1]", "features.float", "features.frequency.int", "train.int"]
)
def test_unknown_key_named_like_a_type_is_named_too(name: str) -> None:
    assert f"unknown key '{name}'" in refusal(name, 1)


@pytest.mark.parametrize(
    "name, value",
    [
        ("seed", 1.0),
        ("seed", "1"),
        ("seed", True),
        ("features", 3),
        ("features", []),
        ("features.n", "6"),
        ("features.n", 6.0),
        ("features.n", True),
        ("features.density", "0.3"),
        ("features.density", True),
        ("features.frequency", 3),
        ("features.frequency.cap", "1"),
        ("features.importance.shuffle", 1),
        ("features.importance.shuffle_seed", 1.5),
        ("features.values", ["uniform"]),
        ("features.signed", 0),
        ("features.firing", 1),
        ("model", 3),
        ("model.hidden", 2.0),
        ("model.activation", 1),
        ("model.layer_norm", 1),
        ("model.layer_norm_eps", "tiny"),
        ("model.layer_norm_eps", True),
        ("model.tied", "yes"),
        ("train.steps", 1e3),
        ("train.learning_rate", "fast"),
        ("train.learning_rate", True),
        ("train.optimizer", {"name": "adam"}),
        ("eval.samples", None),
        ("eval", "many"),
    ],
)
def test_wrong_type_is_refused_by_name(name: str, value: Any) -> None:
    assert f"{name}: expected " in refusal(name, value)


@pytest.mark.parametrize("value", [0, 0.0, 1.5, -0.1, float("nan"), float("inf"), -float("inf"), 10**400])
def test_density_outside_its_interval_is_refused(value: float) -> None:
    assert "density: expected " in refusal("features.density", value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("seed", -1),
        ("seed", 2**63),
        ("features.n", 0),
        ("features.n", -6),
        ("features.frequency.cap", 0.0),
        ("features.frequency.cap", 1.5),
        ("features.importance.shuffle_seed", -1),
        ("model.hidden", 0),
        ("model.hidden", -2),
        ("model.layer_norm_eps", -1e-5),
        ("model.init_scale", 0.0),
        ("model.init_scale", -1.0),
        ("train.steps", 0),
        ("train.steps", -30),
        ("train.batch", -16),
        ("train.learning_rate", -1e-3),
        ("train.learning_rate", float("nan")),
        ("train.learning_rate", float("inf")),
        ("train.weight_decay", -0.1),
        ("train.weight_decay", float("nan")),
        ("train.curve_points", 0),
        ("train.snapshots", -1),
        ("eval.samples", 0),
        ("eval.samples", -256),
    ],
)
def test_number_outside_its_domain_is_refused(name: str, value: float) -> None:
    assert name.rsplit(".", 1)[-1] in refusal(name, value)


@pytest.mark.parametrize("name", ["seed", "features.n", "features.density", "train.learning_rate"])
def test_number_too_long_to_print_is_refused(name: str) -> None:
    assert name in refusal(name, 16**5000)


@pytest.mark.parametrize("name", ["features.n", "model.hidden", "features", "model"])
def test_missing_setting_is_named(name: str) -> None:
    raw = copy.deepcopy(BASE)
    section, _, rest = name.partition(".")
    del (raw[section] if rest else raw)[rest or section]
    with pytest.raises(SpecError, match=f"file.toml: {name}: missing"):
        validate(raw, "file.toml")


def test_missing_density_is_named() -> None:
    with pytest.raises(SpecError, match="density is missing"):
        validate({"features": {"n": 6}, "model": {"hidden": 2}}, "file.toml")


@pytest.mark.parametrize(
    "name, value, nearest",
    [
        ("model.activation", "solo", "solu"),
        ("model.output", "linaer", "linear"),
        ("features.frequency", "zipff", "zipf"),
        ("features.importance.law", "geometrc", "geometric"),
        ("features.values", "unifrom", "uniform"),
        ("features.firing", "correlate", "correlated"),
        ("task.target", "identiy", "identity"),
        ("train.optimizer", "adamw", "adam"),
        ("train.schedule", "cosin", "cosine"),
    ],
)
def test_unknown_word_is_named_with_the_nearest(name: str, value: str, nearest: str) -> None:
    sentence = refusal(name, value)
    assert f"'{value}'" in sentence
    assert f"did you mean '{nearest}'" in sentence


@pytest.mark.parametrize("where", ["features.frequency", "features.importance"])
@pytest.mark.parametrize(
    "law, words",
    [
        ({"law": "zipf"}, "law 'zipf' needs exponent"),
        ({"law": "geometric"}, "law 'geometric' needs ratio"),
        ({"law": "list"}, "law 'list' needs values"),
        ({"law": "uniform", "exponent": 1.0}, "law 'uniform' takes no exponent"),
        ({"law": "zipf", "exponent": 1.0, "ratio": 0.5}, "law 'zipf' takes no ratio"),
        ({"law": "geometric", "ratio": 0.5, "values": [1.0]}, "law 'geometric' takes no values"),
        ({"law": "zipf", "exponent": -1.0}, "exponent: expected"),
        ({"law": "geometric", "ratio": 0.0}, "ratio: expected"),
        ({"law": "list", "values": [1.0, 2.0]}, "expected 6 numbers, got 2"),
        ({"law": "list", "values": [1.0, 1.0, 1.0, 1.0, 1.0, -1.0]}, "values: expected"),
    ],
)
def test_law_needs_its_setting_and_takes_no_other(where: str, law: dict[str, Any], words: str) -> None:
    assert words in refusal(where, law)


@pytest.mark.parametrize(
    "firing, words",
    [
        ("correlated", "firing 'correlated' needs groups"),
        ({"kind": "anticorrelated"}, "firing 'anticorrelated' needs groups"),
        ({"kind": "independent", "groups": 2}, "firing 'independent' takes no groups"),
        ({"kind": "one", "groups": 2}, "firing 'one' takes no groups"),
        ("together", "firing 'together' needs sets"),
        ({"kind": "correlated", "groups": 2, "sets": [[0, 1]]}, "firing 'correlated' takes no sets"),
        ({"kind": "together", "sets": [[0, 1]], "groups": 2}, "firing 'together' takes no groups"),
        ({"kind": "together", "sets": [[0, 6]]}, "firing.sets: expected features from 0 to 5, got 6"),
        ({"kind": "together", "sets": [[0]]}, "firing.sets: expected at least 2 features in a set, got [0]"),
        (
            {"kind": "together", "sets": [[0, 1], [1, 2]]},
            "firing.sets: expected every feature at most once, got 1 twice",
        ),
        ({"kind": "together", "sets": []}, "firing.sets: expected at least one set"),
        ({"kind": "together", "sets": [[0, 1.0]]}, "firing.sets.0.1: expected"),
        ({"kind": "together", "sets": [[0, True]]}, "firing.sets.0.1: expected"),
        ({"kind": "together", "sets": 3}, "firing.sets: expected"),
        ({"kind": "correlated", "groups": 0}, "groups: expected"),
        ({"kind": "correlated", "groups": 4}, "groups"),
        ({"kind": "anticorrelated", "groups": 1}, "density"),
        ("tree", "firing 'tree' needs children"),
        ({"kind": "tree", "children": 2, "depth": 1}, "firing 'tree' needs any_child"),
        ({"kind": "tree", "children": 2, "depth": 1, "any_child": 0.8, "groups": 2}, "firing 'tree' takes no groups"),
        ({"kind": "one", "depth": 1}, "firing 'one' takes no depth"),
        ({"kind": "tree", "children": 2, "depth": 1, "any_child": 0}, "any_child: expected a number > 0"),
        ({"kind": "tree", "children": 2, "depth": 1, "any_child": "often"}, "features.firing.any_child: expected"),
        ({"kind": "tree", "children": 2.0, "depth": 1, "any_child": 0.8}, "features.firing.children: expected"),
        ({"kind": "tree", "children": 3, "depth": 1, "any_child": 0.8}, "features.firing: a tree of 3 children"),
        (
            {"kind": "tree", "children": 5, "depth": 1, "any_child": 0.1},
            "features.density: expected at most 0.183333, at which no P is above 1.0, got 0.3",
        ),
    ],
)
def test_firing_needs_groups_that_divide_and_a_density_that_fits(firing: Any, words: str) -> None:
    assert words in refusal("features.firing", firing)


@pytest.mark.parametrize("firing", ["one", {"kind": "one"}])
@pytest.mark.parametrize("n", [1, 3, 6, 49])
def test_one_active_feature_fills_in_the_density(firing: Any, n: int) -> None:
    cell = validate({"features": {"n": n, "firing": firing}, "model": {"hidden": 2}}, "file.toml")
    assert cell["features.density"] == 1 / n
    written = validate({"features": {"n": n, "firing": firing, "density": 1 / n}, "model": {"hidden": 2}}, "file.toml")
    assert written.key() == cell.key()


def test_the_order_of_sets_is_not_in_the_key() -> None:
    one, other = ({"kind": "together", "sets": sets} for sets in ([[5, 1], [0, 2]], [[0, 2], [1, 5]]))
    assert settings(**{"features.firing": one}).key() == settings(**{"features.firing": other}).key()


def test_a_tree_is_read_made_and_written_as_it_was_given() -> None:
    given = {"kind": "tree", "children": 2, "depth": 1, "any_child": 0.5}
    cell = settings(**{"features.firing": given})
    assert cell.document()["features"]["firing"] == given
    features = cell.experiment("file.toml").features
    assert isinstance(features, Features)
    assert features.firing == Tree(2, 1, 0.5)
    named = {name for name in cell.non_default() if name.startswith("features.firing")}
    assert named == {"features.firing", *(f"features.firing.{key}" for key in given if key != "kind")}
    assert validate(cell.document(), "file.toml") == cell


def test_one_active_feature_refuses_another_density() -> None:
    assert "density" in refusal("features.firing", "one")


@pytest.mark.parametrize(
    "name, bare, table",
    [
        ("features.frequency", "uniform", {"law": "uniform"}),
        ("features.importance", "uniform", {"law": "uniform"}),
        ("features.firing", "independent", {"kind": "independent"}),
    ],
)
def test_bare_word_is_its_table(name: str, bare: str, table: dict[str, str]) -> None:
    assert settings(**{name: bare}) == settings(**{name: table})


def test_setting_inside_a_bare_word_keeps_the_word() -> None:
    raw = override({**BASE, "features": {**BASE["features"], "frequency": "zipf"}}, "features.frequency.exponent", 2.0)
    assert validate(raw, "file.toml").document()["features"]["frequency"] == {
        "law": "zipf",
        "exponent": 2.0,
        "cap": 1.0,
    }


def test_override_leaves_its_input_alone() -> None:
    raw = copy.deepcopy(BASE)
    override(raw, "features.frequency.cap", 0.5)
    assert raw == BASE


WRITABLE = sorted(name for name, value in DEFAULTS.items() if value is not None)


@pytest.mark.parametrize("name", WRITABLE)
def test_default_written_out_changes_no_key(name: str) -> None:
    beside = {"model.embedding": 3} if name.startswith("model.embedding.") else {}  # means nothing without one
    assert settings(**beside, **{name: DEFAULTS[name]}).key() == settings(**beside).key()


CHANGES: list[tuple[str, Any]] = [
    ("seed", 1),
    ("features.n", 7),
    ("features.density", 0.25),
    ("features.frequency", ZIPF),
    ("features.frequency.cap", 0.5),
    ("features.importance", ZIPF),
    ("features.importance.shuffle", True),
    ("features.importance.shuffle_seed", 0),
    ("features.values", "binary"),
    ("features.signed", True),
    ("features.firing", {"kind": "correlated", "groups": 2}),
    ("features.firing", {"kind": "correlated", "groups": 3}),
    ("features.firing", {"kind": "together", "sets": [[0, 1]]}),
    ("features.firing", {"kind": "together", "sets": [[0, 2]]}),
    ("features.firing", {"kind": "tree", "children": 2, "depth": 1, "any_child": 0.8}),
    ("features.firing", {"kind": "tree", "children": 2, "depth": 1, "any_child": 0.7}),
    ("features.firing", {"kind": "tree", "children": 5, "depth": 1, "any_child": 0.8}),
    ("features.firing", {"kind": "tree", "children": 1, "depth": 2, "any_child": 0.8}),
    ("model.hidden", 3),
    ("model.activation", "solu"),
    ("model.layer_norm", True),
    ("model.layer_norm_eps", 1e-12),
    ("model.layer_norm_eps", "matched"),
    ("model.layer_norm_affine", False),
    ("model.output", "linear"),
    ("model.output", "solu"),
    ("model.output_bias", False),
    ("model.tied", False),
    ("model.hidden_bias", True),
    ("model.init_scale", 2.0),
    ("model.hidden_bias_start", -1.0),
    ("model.blocks", 2),
    ("model.top_k", 1),
    ("model.experts", 2),
    ("model.gated", True),
    ("model.embedding", 3),
    ("model.embedding", 4),
    ("model.embedding", {"size": 3, "trained": True}),
    ("task.target", "absolute"),
    ("task.target", {"kind": "and", "pairs": 2}),
    ("task.target", {"kind": "and", "pairs": 3}),
    ("task.loss", "l4"),
    ("task.loss", "cross_entropy"),
    ("train.steps", 30),
    ("train.batch", 16),
    ("train.optimizer", "sgd"),
    ("train.learning_rate", 0.1),
    ("train.schedule", "cosine"),
    ("train.weight_decay", 0.1),
    ("train.curve_points", 10),
    ("train.snapshots", 1),
    ("train.hidden_bias_decay", 0.1),
    ("train.weights_kept", 0.25),
    ("train.weight_growth", 0.5),
    ("train.activation_l1", 0.1),
    ("train.load_balance", 0.1),
    ("eval.samples", 256),
]


def test_every_setting_changes_the_key() -> None:
    keys = [settings().key(), *(settings(**{name: value}).key() for name, value in CHANGES)]
    assert len(set(keys)) == len(keys)
    inside = {"features.frequency", "features.importance", "features.firing"}
    untried = {name for name in setting_names() if not any(name == c or name.startswith(f"{c}.") for c, _ in CHANGES)}
    assert not untried - inside, "a new setting belongs in CHANGES"


@pytest.mark.parametrize(
    "name, whole, decimal",
    [
        ("features.density", 1, 1.0),
        ("features.frequency", {"law": "zipf", "exponent": 2}, {"law": "zipf", "exponent": 2.0}),
        ("features.importance", {"law": "list", "values": [1, 2, 3, 4, 5, 6]}, None),
        ("model.layer_norm_eps", 0, 0.0),
        ("model.init_scale", 2, 2.0),
        ("train.learning_rate", 1, 1.0),
        ("train.weight_decay", 1, 1.0),
    ],
)
def test_whole_and_decimal_spelling_have_one_key(name: str, whole: Any, decimal: Any) -> None:
    if decimal is None:
        decimal = {**whole, "values": [float(v) for v in whole["values"]]}
    assert settings(**{name: whole}).key() == settings(**{name: decimal}).key()


def test_order_of_writing_changes_no_key() -> None:
    turned = {"model": {"hidden": 2}, "features": {"density": 0.3, "n": 6}}
    assert validate(turned, "file.toml").key() == settings().key()


def test_key_is_what_it_was_in_the_first_version() -> None:
    assert settings().key() == "dccdb139e1517f3db4d3800d"
    assert settings(**dict(CHANGES[3:8]), seed=3).key() == "193fd7a80e19b586fbf10318"


def test_keys_of_decoders_and_pairs_are_what_they_were_first() -> None:
    named = {"model.embedding": 3, "model.embedding.trained": True, "model.tied": False}
    assert settings(**named).non_default().keys() == {"features.n", "features.density", "model.hidden", *named}
    assert settings(**named).key() == "f4ac332d6cb4262b8739ffc3"
    pairs = settings(**{"task.target": {"kind": "and", "pairs": 2}, "task.loss": "cross_entropy"})
    assert pairs.key() == "dffe0da48cedf9ddd6610bbc"


@pytest.mark.parametrize("written", [3, {"size": 3}, {"size": 3, "trained": False}])
def test_an_embedding_may_be_written_as_its_size(written: Any) -> None:
    cell = settings(**{"model.embedding": written, "model.tied": False})
    assert cell.key() == settings(**{"model.embedding": 3, "model.tied": False}).key()
    assert cell.document()["model"]["embedding"] == 3
    assert cell.experiment("file.toml").bottleneck.embedding == Embedding(3)
    trained = settings(**{"model.embedding": written, "model.embedding.trained": True, "model.tied": False})
    assert trained.document()["model"]["embedding"] == {"size": 3, "trained": True}
    assert trained.experiment("file.toml").bottleneck.embedding == Embedding(3, trained=True)
    assert "embedding" not in settings().document()["model"]


def test_a_target_without_settings_is_written_as_its_word() -> None:
    assert settings().document()["task"]["target"] == "identity"
    pairs = settings(**{"task.target": {"kind": "and", "pairs": 2}})
    assert pairs.document()["task"]["target"] == {"kind": "and", "pairs": 2}


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("model.embedding", {"trained": True}, "model.embedding.size: missing"),
        ("model.embedding", {}, "model.embedding.size: missing"),
        ("model.embedding.trained", True, "model.embedding.size: missing"),
        ("model.embedding", {"size": 3, "sise": 3}, "unknown key 'model.embedding.sise' (did you mean 'size'?)"),
        ("model.embedding", "wide", "model.embedding.size: expected valid integer, got 'wide'"),
        ("model.embedding", 0, "model.embedding.size: expected greater than or equal to 1, got 0"),
        ("model.embedding", {"size": 3, "trained": 1}, "model.embedding.trained: expected valid boolean, got 1"),
        ("task.target", "and", "target 'and' needs pairs"),
        ("task.target", {"kind": "absolute", "pairs": 2}, "target 'absolute' takes no pairs"),
        ("task.target", {"kind": "and", "pairs": 2.0}, "task.target.pairs: expected valid integer, got 2.0"),
        ("task.target", {"kind": "and", "pears": 2}, "unknown key 'task.target.pears' (did you mean 'pairs'?)"),
    ],
)
def test_what_an_embedding_or_a_target_lacks_is_named(name: str, value: Any, words: str) -> None:
    assert words in refusal(name, value)


def test_every_flat_name_can_be_set() -> None:
    for name in settings().flat():
        check_name(name, "--set")


@pytest.mark.parametrize("name", ["", "features", "model", "feature.n", "features.n.x", "seed ", "question", "grid"])
def test_what_is_no_setting_cannot_be_set(name: str) -> None:
    with pytest.raises(SpecError, match="--set: unknown setting"):
        check_name(name, "--set")


def test_a_misspelled_table_is_named_rather_than_the_one_that_is_missing() -> None:
    with pytest.raises(SpecError, match=r"unknown key 'feature' \(did you mean 'features'\?\)"):
        validate({"feature": {"n": 4}, "model": {"hidden": 2}}, "file.toml")
