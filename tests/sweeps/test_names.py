"""Names that settings have elsewhere lead to the right one, wherever a name is written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.names import MEANT, OTHER, REASONS, meant
from toymodels.sweeps.spec import setting_names
from toymodels.sweeps.sweep import Sweep, parse, parse_assignment, parse_axis

BODY = {"features": "n = 6\ndensity = 0.3\n", "model": "hidden = 2\n", "train": "steps = 5\n"}


def sweep(section: str = "", line: str = "") -> Sweep:
    """A sweep with a line more in one of its sections, at its top, or in a section of its own."""
    tables = BODY | ({section: BODY.get(section, "") + f"{line}\n"} if section else {})
    top = "" if section else f"{line}\n"
    return parse(top + "".join(f"[{name}]\n{text}" for name, text in tables.items()), "file", "file.toml")


WAYS: dict[str, Callable[[str], object]] = {
    "grid": lambda name: sweep("grid", f'"{name}" = [1, 2]'),
    "case": lambda name: parse(f'[features]\nn = 6\n[[case]]\n"{name}" = 1\n', "file", "file.toml"),
    "primary": lambda name: sweep("primary", f'"{name}" = 1'),
    "--set": lambda name: sweep().with_setting(*parse_assignment(f"{name}=1", "--set")),
    "--grid": lambda name: sweep().with_axis(*parse_axis(f"{name}=1,2")),
}


def refusal(write: Callable[[], object]) -> str:
    with pytest.raises(SpecError) as refused:
        write()
    return str(refused.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "name, setting",
    [
        ("lr", "train.learning_rate"),
        ("train.lr", "train.learning_rate"),
        ("training.lr", "train.learning_rate"),
        ("wd", "train.weight_decay"),
        ("n_features", "features.n"),
        ("train.n_features", "features.n"),
        ("d_hidden", "model.hidden"),
        ("n_hidden", "model.hidden"),
        ("hidden_dim", "model.hidden"),
        ("d_mlp", "model.hidden"),
        ("hidden", "model.hidden"),
        ("train.hidden", "model.hidden"),
        ("feature_probability", "features.density"),
        ("p", "features.density"),
        ("prob", "features.density"),
        ("batch_size", "train.batch"),
        ("batch-size", "train.batch"),
        ("steps", "train.steps"),
        ("model.steps", "train.steps"),
        ("act", "model.activation"),
        ("act_fn", "model.activation"),
        ("optim", "train.optimizer"),
        ("ln_eps", "model.layer_norm_eps"),
        ("layernorm", "model.layer_norm"),
        ("Layer_Norm", "model.layer_norm"),
        ("importance.shuffle", "features.importance.shuffle"),
        ("frequency.exponent", "features.frequency.exponent"),
    ],
)
def test_other_names_lead_to_the_right_one(way: str, name: str, setting: str) -> None:
    assert f"unknown setting '{name}' (did you mean '{setting}'?)" in refusal(lambda: WAYS[way](name))


@pytest.mark.parametrize(
    "name, setting, reason",
    [
        ("sparsity", "features.density", "density is 1 - sparsity"),
        ("features.sparsity", "features.density", "density is 1 - sparsity"),
        ("epochs", "train.steps", "every batch is fresh, so there are no epochs"),
        ("n_instances", "seed", 'models of a sweep differ by seed: "seed = { range = [0, 8] }" in [grid]'),
        ("n_inst", "seed", 'models of a sweep differ by seed: "seed = { range = [0, 8] }" in [grid]'),
        ("momentum", "train.optimizer", '"sgd" has a momentum of .9, "adam" betas of .9 and .999'),
    ],
)
def test_what_is_no_plain_synonym_is_told_why(name: str, setting: str, reason: str) -> None:
    for write in WAYS.values():
        assert f"(did you mean '{setting}'? {reason})" in refusal(lambda write=write: write(name))


@pytest.mark.parametrize(
    "section, key, unknown, said",
    [
        ("train", "lr", "train.lr", "learning_rate"),
        ("train", "n_features", "train.n_features", "features.n"),
        ("features", "n_features", "features.n_features", "n"),
        ("features", "sparsity", "features.sparsity", "density"),
        ("model", "learning_rate", "model.learning_rate", "train.learning_rate"),
        ("model", "d_hidden", "model.d_hidden", "hidden"),
        ("", "lr", "lr", "train.learning_rate"),
        ("", "n_instances", "n_instances", "seed"),
        ("optimizer", "name", "optimizer", "train.optimizer"),
    ],
)
def test_a_key_of_a_file_is_mended_with_its_section_where_that_is_wrong(
    section: str, key: str, unknown: str, said: str
) -> None:
    assert f"unknown key '{unknown}' (did you mean '{said}'?" in refusal(
        lambda: sweep(section, f"{key} = 1").settings(0)
    )


def test_a_misspelled_name_still_gets_the_nearest() -> None:
    assert "did you mean 'learning_rate'?" in refusal(lambda: sweep("train", "learning_rte = 1").settings(0))
    assert "did you mean 'train.learning_rate'?" in refusal(lambda: sweep().with_setting("train.learning_rte", 1))


def test_every_name_leads_to_a_setting_and_is_none() -> None:
    names = setting_names()
    assert {setting for setting, _ in MEANT.values()} <= names
    assert not set(MEANT) & {part for name in names for part in name.split(".")}
    assert len(MEANT) == sum(map(len, OTHER.values())) + len(REASONS)  # none stands twice
    assert all(name == name.lower().replace("-", "_") for name in MEANT)


@pytest.mark.parametrize("name", ["", ".", "train.", "zzz", "model.zzz"])
def test_what_nobody_calls_a_setting_leads_nowhere(name: str) -> None:
    assert meant(name, setting_names()) is None
