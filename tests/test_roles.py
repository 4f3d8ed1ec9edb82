"""Roles: members by name, and a subclass that lacks what its role asks for."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import pytest

import toymodels as tm
from toymodels.activations import ACTIVATIONS
from toymodels.checks import Check, declared
from toymodels.features import Features
from toymodels.firing import FIRINGS, Firing
from toymodels.laws import LAWS, Law
from toymodels.losses import LOSSES
from toymodels.roles import OneOf
from toymodels.targets import TARGETS
from toymodels.training.optimizers import OPTIMIZERS, Direction, Optimizer
from toymodels.training.schedules import SCHEDULES, Schedule
from toymodels.values import VALUES

TABLES: dict[type, Mapping[str, Any]] = {
    tm.Activation: ACTIVATIONS,
    Law: LAWS,
    tm.Values: VALUES,
    Firing: FIRINGS,
    tm.Target: TARGETS,
    tm.Loss: LOSSES,
    Optimizer: OPTIMIZERS,
    Schedule: SCHEDULES,
}
LACKING = {
    tm.Activation: "__call__.*jvp",
    tm.Elementwise: "__call__.*derivative",
    Law: "weights",
    tm.Values: "from_uniform",
    Firing: "intervals",
    tm.Target: "count.*of",
    tm.FeatureTarget: "__call__",
    tm.Loss: "__call__",
    Optimizer: "begin",
    Direction: "__call__",
    Schedule: "factor",
    tm.Data: "draw",
    Check: "__call__",
}


@pytest.mark.parametrize("role", LACKING, ids=lambda role: role.__name__)
def test_a_member_without_what_its_role_asks_for_cannot_be_made(role: type) -> None:
    lacking = type("Lacking", (role,), {"name": "lacking"})
    with pytest.raises(TypeError, match=rf"Lacking .*{LACKING[role]}"):
        lacking()


@pytest.mark.parametrize("role", TABLES, ids=lambda role: role.__name__)
def test_a_table_holds_members_of_its_role_by_name(role: type) -> None:
    members = TABLES[role]
    for name, member in members.items():
        kind = member if isinstance(member, type) else type(member)
        assert issubclass(kind, role)
        assert dataclasses.is_dataclass(kind)
        assert not inspect.isabstract(kind)
        assert member.name == name or members is LOSSES
    assert len({*members.values()}) == len(members)


def test_a_role_tells_the_name_of_its_members() -> None:
    law = declared(tm.Frequency)["law"].check
    assert isinstance(law, OneOf)
    assert [law.name_of(each) for each in (tm.Uniform(), tm.Zipf(1.0))] == ["uniform", "zipf"]
    optimizer = declared(tm.Training)["optimizer"].check
    assert isinstance(optimizer, OneOf)
    assert optimizer.name_of(tm.SGD()) == "sgd"
    with pytest.raises(ValueError, match="expected one of uniform, binary, folded_normal, exponential, got SGD"):
        OneOf(tm.Values, "Binary()", names=VALUES).name_of(tm.SGD())


def test_every_field_of_an_experiment_is_declared_with_a_line() -> None:
    for kind in (tm.Experiment, Features, tm.Frequency, tm.Importance, tm.Bottleneck, tm.LayerNorm, tm.Training):
        assert [*declared(kind)] == [each.name for each in dataclasses.fields(kind)]
        assert all(of.says for of in declared(kind).values())
