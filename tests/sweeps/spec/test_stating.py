"""Stating: an experiment said as settings is the experiment that these settings make."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import toymodels as tm
from tests.sweeps.spec.test_settings import BASE, CHANGES
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.schema import DEFAULTS
from toymodels.sweeps.spec.settings import Settings, override, validate
from toymodels.sweeps.spec.shipped import shipped
from toymodels.sweeps.spec.stating import settings_of
from toymodels.sweeps.spec.sweep import read


@dataclasses.dataclass(frozen=True)
class Halved(tm.Elementwise):
    name = "halved"

    def __call__(self, z: torch.Tensor, dim: int = -1) -> torch.Tensor:
        return z / 2

    def derivative(self, z: torch.Tensor) -> torch.Tensor:
        return torch.full_like(z, 0.5)


BESIDE = {
    "features.signed": {"model.output": "linear"},
    "features.firing": {"features.n": 6},
    "model.hidden_bias_start": {"model.hidden_bias": True},
    "model.embedding": {"model.tied": False},
    "model.layer_norm_eps": {"model.layer_norm": True},
    "model.layer_norm_affine": {"model.layer_norm": True},
    "train.hidden_bias_decay": {"model.hidden_bias": True},
    "train.load_balance": {"model.experts": 2, "model.tied": False},
    "task.target": {"features.signed": True, "model.tied": False, "model.output": "linear"},
    "task.loss": {"features.values": "binary", "model.output": "linear"},
}
"""what a value needs beside it to be possible"""


def settings(named: dict[str, Any]) -> Settings:
    raw = copy.deepcopy(BASE)
    for name, value in named.items():
        raw = override(raw, name, value)
    return validate(raw, "file.toml")


@pytest.mark.parametrize("name, value", CHANGES, ids=lambda each: str(each))
def test_what_is_stated_makes_the_same_experiment(name: str, value: Any) -> None:
    given = settings({**BESIDE.get(name, {}), name: value})
    e = given.experiment("file.toml")
    said = settings_of(e, "host")
    assert said.experiment("host") == e
    assert said.key() == Settings({**given.values, "eval.samples": DEFAULTS["eval.samples"]}).key()
    assert validate(said.document(), "host").key() == said.key()


@pytest.mark.parametrize("name, path", shipped().items(), ids=shipped())
def test_every_shipped_sweep_can_be_stated(name: str, path: Path) -> None:
    e = read(path).settings(0).experiment(name)
    assert settings_of(e, name).experiment(name) == e


def test_what_no_file_can_say_is_refused_in_a_sentence() -> None:
    features = tm.Features(n=6, density=0.3)
    own = tm.Experiment(features, tm.Bottleneck(2, Halved()))
    with pytest.raises(SpecError, match=r"^host: model\.activation: expected what a sweep file can name, got Halved\("):
        settings_of(own, "host")
    quick = tm.Experiment(features, tm.Bottleneck(2), tm.Training(optimizer=tm.Adam(beta_1=0.5)))
    with pytest.raises(
        SpecError, match=r"^host: train\.optimizer: expected what a sweep file can name, got Adam\(beta_1=0.5"
    ):
        settings_of(quick, "host")
    data = tm.Experiment(tm.Dataset(torch.eye(6)), tm.Bottleneck(2))
    with pytest.raises(SpecError, match=r"^host: features: expected .* got data of your own"):
        settings_of(data, "host")
