"""Metrics of one's own: columns that are measured beside those of this package, without changing it.

    @tm.metrics.register("kurtosis", table="neurons", description="of pre-activations on 4,096 samples")
    def kurtosis(models):
        _, taps = models.forward(4096)
        z = taps.pre - taps.pre.mean(2, keepdim=True)
        return z.pow(4).mean(2) / z.square().mean(2).square()    # [model, hidden]

A registered metric is measured by `toymodels.measure` and by every sweep of this process, until `unregister`; what a
sweep file names, by that sweep alone (`measuring`). One that raises costs its own column, with the reason, as any
measure does.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, cast, overload

import numpy as np
import torch
from torch import Tensor

from toymodels.bottleneck import Bottleneck, Parameters, Taps, forward
from toymodels.features import Features
from toymodels.hosts.models import Models
from toymodels.metrics.asking import Ask, Unmeasured
from toymodels.metrics.columns import Quantity, quantities_of
from toymodels.metrics.moments import Moments
from toymodels.targets import And
from toymodels.training.experiment import Experiment, sampler

TABLES = {
    "models": "[model]",
    "features": "[model, feature]",
    "neurons": "[model, hidden]",
    "targets": "[model, target]",
}
"""The tables that a column may be in, with the axes that it then has. That of targets there is only where targets are
not features; elsewhere a metric of that table is not asked."""
OF_TABLES = frozenset(
    ["model", "feature", "neuron", "target", "key", "seed", "status", "diverged_step", "layer_norm_eps"]
)
"""Columns that tables have beside what is measured."""


@dataclass(frozen=True)
class Measured:
    """What a metric of one's own may see: trained models of one structure, on the CPU.

    Their leading axis is ``model``; a sweep hands them over in slices, so a metric must not depend on who is beside.
    """

    experiments: tuple[Experiment, ...]
    """what each model was asked to do"""
    parameters: Parameters
    """their weights: W_in [model, hidden, feature], ..."""
    moments: Moments
    """means over the evaluation samples, of which the columns of this package are made"""
    column: Callable[[str], Tensor]
    """another column by ``table.name``, such as ``column("features.r2")`` [model, feature]"""

    def forward(self, samples: int) -> tuple[Tensor, Taps]:
        """The first ``samples`` of each model's own evaluation stream, x [model, feature, sample], and the forward pass
        on them: pre, mid, post [model, hidden, sample], readout, out [model, target, sample].
        """
        x = sampler(self.experiments).evaluation(0, samples).to(self.parameters.W_in.dtype)
        return x, forward(self.experiments[0].bottleneck, self.parameters, x)


Function = Callable[[Measured], Any]


@dataclass(frozen=True)
class OwnMetric:
    """A column of one's own: ``function`` of `Measured` gives a tensor or array of the axes in `TABLES`."""

    name: str
    function: Function
    table: str
    unit: str = ""
    description: str = ""
    fingerprint: str = field(default="", compare=False)
    """what changes when its code does: packs that were measured by another are measured anew"""

    def __call__(self, measured: Measured) -> Any:
        """What the function says of these models."""
        return self.function(measured)

    @property
    def column(self) -> str:
        """``table.name``."""
        return f"{self.table}.{self.name}"


_registered: dict[str, OwnMetric] = {}
_beside: ContextVar[Mapping[str, OwnMetric]] = ContextVar("_beside", default=MappingProxyType({}))
"""what is measured beside them for now, each by ``table.name``"""


def registered() -> tuple[OwnMetric, ...]:
    """The metrics that are registered in this process, in the order of their registration; then those of `measuring`,
    each in the place of one of its column.
    """
    return tuple({**_registered, **_beside.get()}.values())


@contextmanager
def measuring(metrics: Sequence[OwnMetric]) -> Iterator[None]:
    """While the block runs, in this thread, these are measured as if they were registered."""
    token = _beside.set({each.column: each for each in metrics})
    try:
        yield
    finally:
        _beside.reset(token)


@contextmanager
def registering_nothing() -> Iterator[None]:
    """What is registered, or no more, while the block runs is so until its end alone."""
    before = dict(_registered)
    try:
        yield
    finally:
        _registered.clear()
        _registered.update(before)


def unregister(name: str, table: str) -> None:
    """Measure the column no more; nothing where it is not registered."""
    _registered.pop(f"{table}.{name}", None)


@overload
def register(name: str, function: Function, *, table: str, unit: str = "", description: str = "") -> OwnMetric: ...
@overload
def register(
    name: str, function: None = None, *, table: str, unit: str = "", description: str = ""
) -> Callable[[Function], OwnMetric]: ...
def register(
    name: str, function: Function | None = None, *, table: str, unit: str = "", description: str = ""
) -> OwnMetric | Callable[[Function], OwnMetric]:
    """Measure ``function`` of `Measured` as the column ``name`` of a table: models, features, neurons or targets.

    Without a ``function`` it is a decorator. Undefined entries are NaN, and null in the table. A function of the same
    module and name takes the place of the one before. Raises ``ValueError`` for a column that there is already, and for
    what cannot be one.
    """
    if function is None:
        return lambda decorated: register(name, decorated, table=table, unit=unit, description=description)
    if not callable(function):
        raise TypeError(f"function: expected a function of the models that are measured, got {function!r:.60}")
    if table not in TABLES:
        raise ValueError(f"table: expected {', '.join(TABLES)}, got {table!r:.60}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w{0,63}", name, re.ASCII):
        raise ValueError(f"name: expected letters, digits and _, beginning with a letter, got {name!r:.60}")
    metric = OwnMetric(name, function, table, str(unit), str(description), fingerprint_of(function))
    before = _registered.get(metric.column)
    if name in OF_TABLES or metric.column in _taken():
        raise ValueError(f"name: the table {table} has a column '{name}' already: choose another name")
    if before is not None and _place(before.function) != _place(function):
        raise ValueError(
            f"name: '{name}' of {table} is registered by {'.'.join(_place(before.function))} already: choose another "
            "name, or toymodels.metrics.unregister it"
        )
    _registered[metric.column] = metric
    return metric


def fingerprints() -> dict[str, str]:
    """The fingerprint of every registered metric, by ``table.name``."""
    return {each.column: each.fingerprint for each in registered()}


def fingerprint_of(function: Function) -> str:
    """SHA-256 of the function's text; of its name where Python does not find that."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = ".".join(_place(function))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def own_quantities(models: Models, moments: Moments) -> dict[str, Quantity]:
    """The registered columns by ``table.name``, as `toymodels.metrics.columns` has those of this package."""
    has_targets = not models.of_features

    def asked(metric: OwnMetric) -> Quantity:
        def quantity(ask: Ask) -> Tensor:
            parameters = models.parameters.to("cpu", models.parameters.W_in.dtype)
            of = Measured(tuple(models.experiments), parameters, moments, lambda name: ask(name).cpu())
            return _as_column(metric(of))

        return quantity

    return {each.column: asked(each) for each in registered() if each.table != "targets" or has_targets}


def _as_column(found: Any) -> Tensor:
    """What a function gave as float64, int64 or bool. Raises `Unmeasured` for what is no tensor or array of these."""
    if not isinstance(found, Tensor | np.ndarray):
        raise Unmeasured(f"expected a tensor, got {found!r:.60}")
    found = torch.as_tensor(found).detach()
    if found.is_complex():
        raise Unmeasured("expected a tensor of real numbers, got complex ones")
    return found if found.dtype == torch.bool else found.double() if found.is_floating_point() else found.long()


def _place(function: Function) -> tuple[str, str]:
    """Where a function was written: its module and its name there."""
    kind = type(function)
    return getattr(function, "__module__", kind.__module__), getattr(function, "__qualname__", kind.__qualname__)


@cache
def _taken() -> frozenset[str]:
    """The columns that this package has, whether or not targets are features."""
    features, W = Features(n=2, density=0.5), torch.zeros(1, 1, 2)
    of_features = Experiment(features, Bottleneck(hidden=1))
    of_pairs = Experiment(features, Bottleneck(hidden=1, tied=False), target=And(1))
    nothing = cast("Moments", None)  # columns are named, and none is asked for
    named = (quantities_of(Models([each], Parameters(W_in=W)), nothing) for each in (of_features, of_pairs))
    return frozenset(name for each in named for name in each)
