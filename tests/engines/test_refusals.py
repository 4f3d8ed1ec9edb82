"""What the fused engine has no kernel for is refused by name, and "auto" trains it with autograd."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from toymodels import (
    Adam,
    Bottleneck,
    Elementwise,
    Experiment,
    Features,
    GeLU,
    ReLU,
    RotatedAdam,
    Training,
    train,
)
from toymodels.engines import ENGINES, Unsupported
from toymodels.engines.fused import codes

autograd, fused = ENGINES["autograd"], ENGINES["fused"]


@dataclasses.dataclass(frozen=True)
class Cube(Elementwise):
    name = "cube"

    def __call__(self, z, dim=-1):
        return z**3

    def derivative(self, z):
        return 3 * z**2


@dataclasses.dataclass(frozen=True)
class MyReLU(ReLU):
    def __call__(self, z, dim=-1):
        return torch.relu(z) + 1


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"activation": Cube()}, "no kernel for activation 'cube' .*solu.*: use engine autograd"),
        ({"activation": MyReLU()}, "no kernel for activation 'relu' of class MyReLU"),
        ({"output": GeLU()}, "no kernel for output 'gelu' .*linear, relu"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name_and_auto_falls_back(changes, sentence):
    e = Experiment(Features(5, 0.2), Bottleneck(2, **changes), Training(steps=5, batch=8))
    with pytest.raises(Unsupported, match=sentence):
        train([e], engine="fused")
    with pytest.raises(ValueError, match=sentence):
        fused.train([e])
    assert torch.equal(train([e]).parameters.W_in, autograd.train([e]).parameters.W_in)
    assert fused.refuses([e])


@dataclasses.dataclass(frozen=True)
class Sign(Adam):
    pass


@dataclasses.dataclass(frozen=True)
class Dropped(Bottleneck):
    dropout: float = 0.0


@pytest.mark.parametrize(
    "bottleneck, recipe, sentence",
    [
        (Bottleneck(2), Training(optimizer=RotatedAdam(Sign())), "does not know the class Sign"),
        (Bottleneck(2), Training(optimizer=Sign()), "no kernel for optimizer 'adam' of class Sign"),
        (Dropped(2), Training(), "does not know the class Dropped"),
    ],
)
def test_what_was_added_later_is_refused_not_left_out(bottleneck, recipe, sentence):
    with pytest.raises(Unsupported, match=sentence):
        train([Experiment(Features(5, 0.2), bottleneck, recipe)], engine="fused")


def test_a_setting_added_later_is_refused_by_name_unless_every_model_has_its_default(monkeypatch):
    monkeypatch.setitem(codes.KNOWN_SETTINGS, Training, codes.KNOWN_SETTINGS[Training].replace("weight_decay ", ""))
    default, other = (
        Experiment(Features(5, 0.2), Bottleneck(2), Training(steps=5, batch=8, weight_decay=decay))
        for decay in (0, 0.1)
    )
    assert not fused.refuses([default, default])
    for experiments in ([other], [default, other]):
        assert fused.refuses(experiments) == (
            "the fused engine does not know the setting 'weight_decay' of Training: use engine autograd"
        )
        assert torch.equal(train(experiments).parameters.W_in, autograd.train(experiments).parameters.W_in)
