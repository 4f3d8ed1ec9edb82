"""Choices: each name is the arithmetic of its class and of no other; one that no kernel knows ends in NaN.

And what the kernels do not know is refused by name before that.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from tests.engines.test_refusals import Cube, Dropped, MyReLU, Sign
from tests.kernels.test_codes import of as with_choice
from toymodels import (
    Bottleneck,
    Embedding,
    Experiment,
    Features,
    GeLU,
    Power,
    ReLU,
    RotatedAdam,
    Training,
    train,
)
from toymodels.engines import ENGINES, Unsupported
from toymodels.engines.fused import codes
from toymodels.engines.gpu import run
from toymodels.engines.gpu.choices import KNOWN, unsupported
from toymodels.engines.gpu.form import MOST, Form, form_of

autograd, fused, gpu = ENGINES["autograd"], ENGINES["fused"], ENGINES["gpu"]
ROLES = {
    "activation": "activation",
    "output": "output",
    "target": "target",
    "loss": "loss",
    "values": "value law",
    "optimizer": "optimizer",
}
"""a field of `Form`, which is also the setting, and what `Known.parts` calls it"""
CHOICES = [(role, kind) for role, part in ROLES.items() for kind in KNOWN.parts[part]]


def of(role: str, kind: Any) -> Experiment:
    e = with_choice(role, kind)
    return dataclasses.replace(e, training=dataclasses.replace(e.training, steps=3, batch=50))


@pytest.mark.parametrize("role, kind", CHOICES)
def test_every_choice_gives_what_its_class_gives(role: str, kind: Any) -> None:
    e = of(role, kind)
    trained, truth = gpu.train([e]), autograd.train([e], dtype=torch.float64)
    torch.testing.assert_close(trained.curve.double(), truth.curve, rtol=1e-5, atol=0)
    for name, weights in truth.parameters.trained(e.bottleneck).items():
        torch.testing.assert_close(
            trained.parameters.trained(e.bottleneck)[name].double(), weights, rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("role", ROLES)
def test_no_two_classes_share_a_name(role: str) -> None:
    forms = {getattr(form_of(of(role, kind)), role) for kind in KNOWN.parts[ROLES[role]]}
    assert len(forms) == len(KNOWN.parts[ROLES[role]])


@pytest.mark.parametrize("role", ROLES)
def test_a_name_that_no_kernel_knows_ends_in_nan(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    e = of(role, next(iter(KNOWN.parts[ROLES[role]])))
    of_run = run.GpuRun([e], "cpu")
    unknown: Form = dataclasses.replace(of_run.batch.form, **{role: "sinh"})
    of_run.batch = dataclasses.replace(of_run.batch, form=unknown)
    before = of_run.stood[:, 0].clone()
    of_run.advance(1)
    assert of_run.diverged_step.tolist() == [1]
    assert torch.equal(of_run.stood[:, 0], before)
    assert of_run.curve[0, 0].isnan() == (role != "optimizer")


@pytest.mark.parametrize(
    "bottleneck, recipe, sentence",
    [
        (Bottleneck(2, Cube()), Training(), "has no kernel for activation 'cube' .*solu.*: use engine autograd"),
        (Bottleneck(2, MyReLU()), Training(), "has no kernel for activation 'relu' of class MyReLU"),
        (Bottleneck(2, output=GeLU()), Training(), "has no kernel for output 'gelu' .*linear, relu"),
        (Bottleneck(2), Training(optimizer=RotatedAdam(Sign())), "does not know the class Sign"),
        (Bottleneck(2), Training(optimizer=Sign()), "has no kernel for optimizer 'adam' of class Sign"),
        (Dropped(2), Training(), "does not know the class Dropped"),
        (Bottleneck(4, ReLU(), tied=False, blocks=2), Training(), "does not know the setting 'blocks' of Bottleneck"),
    ],
)
def test_what_it_does_not_know_is_refused_by_name(bottleneck: Any, recipe: Training, sentence: str) -> None:
    with pytest.raises(Unsupported, match=f"^the gpu engine {sentence}"):
        train([Experiment(Features(6, 0.2), bottleneck, recipe)], engine="gpu")


def test_another_loss_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="the gpu engine has no kernel for loss 'power'"):
        gpu.train([Experiment(Features(6, 0.2), Bottleneck(2), loss=Power())])


def test_a_model_that_one_multiprocessor_does_not_hold_is_refused_with_its_numbers() -> None:
    reason = unsupported([Experiment(Features(512, 0.05), Bottleneck(256, GeLU(), tied=False))])
    assert reason is not None
    assert "one of 512 features, 256 neurons with a tile of 16 samples" in reason
    for n, m in ((256, 64), (64, 256), (512, 16)):
        assert unsupported([Experiment(Features(n, 0.1), Bottleneck(m))])
    assert f"of {MOST:,} that fit: use engine autograd" in reason
    sizes = ((2, 1), (64, 16), (100, 20), (200, 20), (100, 40), (128, 64))
    held = [Experiment(Features(n, 0.1), Bottleneck(m, tied=n > 100)) for n, m in sizes]
    assert [unsupported([each]) for each in held] == [None] * len(held)


def test_what_it_knows_the_fused_engine_knows_too() -> None:
    """Which takes its moments."""
    for part, kinds in KNOWN.parts.items():
        assert set(kinds) <= set(codes.KNOWN.parts[part]), part
    for kind, names in KNOWN.settings.items():
        assert set(names.split()) <= set(codes.KNOWN.settings[kind].split()), kind


@pytest.mark.parametrize(
    "n, m, embedding, small, filled",
    [
        (2, 1, None, True, (2, 2, 1, 2)),
        (5, 2, None, True, (8, 8, 2, 8)),
        (8, 8, None, True, (8, 8, 8, 8)),
        (20, 5, None, False, (32, 32, 16, 32)),
        (64, 16, None, False, (64, 64, 16, 64)),
        (8, 8, 3, True, (8, 4, 8, 8)),
        (40, 3, 20, False, (64, 32, 16, 64)),
    ],
)
def test_sizes_are_filled_up_to_what_products_want(
    n: int, m: int, embedding: int | None, small: bool, filled: tuple[int, ...]
) -> None:
    bottleneck = Bottleneck(m, tied=embedding is None, embedding=Embedding(embedding) if embedding else None)
    form = form_of(Experiment(Features(n, 0.1), bottleneck))
    assert ((form.N, form.D, form.M, form.O), form.small) == (filled, small)
    assert form.tile & (form.tile - 1) == 0
    assert 16 <= form.tile <= 256
    assert form.held <= MOST


def test_a_form_is_of_the_structure_alone() -> None:
    """What models of one batch may differ in compiles no other code, which might round otherwise."""
    recipe = Training(steps=9, batch=32)
    one = Experiment(Features(6, 0.2), Bottleneck(3, ReLU(), hidden_bias=True), recipe)
    costs = {"activation_l1": 0.1, "weight_growth": 0.1, "weights_kept": 0.5, "hidden_bias_decay": 0.1}
    other = dataclasses.replace(one, training=dataclasses.replace(recipe, learning_rate=1.0, **costs), seed=9)
    assert one.structure() == other.structure()
    assert form_of(one) == form_of(other)
