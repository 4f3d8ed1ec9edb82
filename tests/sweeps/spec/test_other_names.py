"""Other names of settings lead to the right one, wherever a name is written."""

from __future__ import annotations

import pytest

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.names import setting_names
from toymodels.sweeps.spec.other_names import OTHERS, OWN_NAMES, REASONS, meant
from toymodels.sweeps.spec.sweep import parse

FILE = """
[features]
n = 5
density = 0.1
[model]
hidden = 2
[train]
steps = 10
"""
PAIRS = [
    ("lr", "train.learning_rate"),
    ("wd", "train.weight_decay"),
    ("batch_size", "train.batch"),
    ("n_features", "features.n"),
    ("d_hidden", "model.hidden"),
    ("hidden_dim", "model.hidden"),
    ("feature_probability", "features.density"),
    ("sparsity", "features.density"),
    ("act_fn", "model.activation"),
    ("optim", "train.optimizer"),
    ("ln_eps", "model.layer_norm_eps"),
    ("n_instances", "seed"),
    ("Batch-Size", "train.batch"),
]


def refused(text: str) -> str:
    with pytest.raises(SpecError) as error:
        parse(text, "other", "other.toml").settings(0)
    return str(error.value)


@pytest.mark.parametrize("other, setting", PAIRS)
def test_a_name_from_elsewhere_leads_to_the_setting(other: str, setting: str) -> None:
    name = f'"{other}"' if "-" in other else other
    said = [
        refused(f"{FILE}{name} = 1"),
        refused(f"{name} = 1\n{FILE}"),
        refused(FILE.replace("[model]", f"[model]\n{name} = 1")),
        refused(f'{FILE}[grid]\n"train.{other}" = [1, 2]'),
        refused(f'{FILE}[grid]\n"{other}" = [1, 2]'),
        refused(f'{FILE}[[case]]\n"{other}" = 1'),
    ]
    assert all(f"(did you mean '{setting}'?" in sentence for sentence in said), said
    with pytest.raises(SpecError, match=setting):
        parse(FILE, "other", "other.toml").with_setting(f"features.{other}", 1)
    with pytest.raises(SpecError, match=setting):
        parse(FILE, "other", "other.toml").with_axis(other, [1, 2])


def test_what_is_no_plain_synonym_is_explained() -> None:
    assert "density is 1 - sparsity" in refused(FILE.replace("[model]", "sparsity = 0.9\n[model]"))
    assert "seed = { range" in refused(f"n_instances = 8\n{FILE}")


def test_a_setting_in_another_section_is_found() -> None:
    assert "(did you mean 'model.hidden'?)" in refused(FILE.replace("[train]", "[train]\nhidden = 3"))
    assert "(did you mean 'train.batch'?)" in refused(FILE.replace("[model]", "batch = 3\n[model]"))


def test_a_slip_of_the_finger_is_still_one() -> None:
    assert "(did you mean 'learning_rate'?)" in refused(f"{FILE}learnin_rate = 1")


def test_every_other_name_means_one_setting_that_there_is() -> None:
    names = setting_names()
    listed = [other for others in OTHERS.values() for other in others.split()]
    assert len(listed) == len(set(listed)) == len(OWN_NAMES)
    assert not REASONS.keys() & OWN_NAMES.keys()
    assert {setting for setting, _ in REASONS.values()} | {*OTHERS} <= names
    leaves = {name.rpartition(".")[2] for name in names}
    assert not leaves & (OWN_NAMES.keys() | REASONS.keys()), "a setting's own name is no other name"
    assert meant("nobody_calls_it_so", names) is None
