"""A sweep written out in full, as a sweep file again; and how two sweeps differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from toymodels.sweeps.spec.names import overlap
from toymodels.sweeps.spec.settings import override
from toymodels.sweeps.spec.sweep import Sweep, stated


def resolved_toml(sweep: Sweep) -> str:
    """The sweep with every setting spelled out and the grid as lists. Read back, it gives the same models."""
    document: dict[str, Any] = sweep.settings(0).document()
    tuned = sweep.tuning.axes.keys() if sweep.tuning is not None else set()
    for name in sorted({name for axis in sweep.axes for name in axis.names} | tuned):
        # Not of the first cell alone: what the file itself said, if anything, is what other cells fall back on.
        _drop(document, name.split("."))
        given = stated(sweep.base, name)
        if given is not None:
            document = override(document, name, given)
    if stated(sweep.base, "features.density") is None:
        _drop(document, ["features", "density"])  # 1/n, of each cell's own n
    if sweep.question:
        document = {"question": sweep.question, **document}
    if sweep.metrics:
        document["metrics"] = list(sweep.metrics)
        document = dict(sorted(document.items(), key=lambda item: isinstance(item[1], dict)))  # before the tables
    if sweep.primary:
        document["primary"] = dict(sweep.primary)
    document["grid"] = {name: list(values) for name, values in sorted(sweep.grid.items())}
    if sweep.cases:
        document["case"] = [dict(case) for case in sweep.cases]
    if sweep.tuning is not None:
        document["tune"] = sweep.tuning.document()
    return tomli_w.dumps(_as_toml(document))


def toml_value(value: Any) -> str:
    """One plain value as TOML writes it."""
    return tomli_w.dumps({"v": _as_toml(value)}).removeprefix("v = ").rstrip("\n")


def changed_keys(old: Sweep, new: Sweep) -> list[str]:
    """The settings and axes in which two sweeps differ."""
    was, now = old.settings(0).flat(), new.settings(0).flat()
    names = {name for name in was if was[name] != now.get(name)}
    names |= {name for name in {*old.grid, *new.grid} if old.grid.get(name) != new.grid.get(name)}
    names |= {"case"} if old.cases != new.cases else set()
    if old.tuning is None or new.tuning is None:
        return sorted(names | ({"tune"} if old.tuning is not new.tuning else set()))
    chosen = {*old.tuning.axes, *new.tuning.axes}  # each arm's own: what differs there is said of [tune]
    names = {name for name in names if not any(overlap(name, each) for each in chosen)}
    return [*sorted(names), *old.tuning.changed(new.tuning)]


def _drop(table: dict[str, Any], path: list[str]) -> None:
    inside = table.get(path[0])
    if len(path) == 1:
        table.pop(path[0], None)
    elif isinstance(inside, dict):
        _drop(inside, path[1:])


def _as_toml(value: Any) -> Any:
    """Tables and lists as `tomli_w` takes them."""
    if isinstance(value, Mapping):
        return {key: _as_toml(inside) for key, inside in value.items()}
    return [_as_toml(inside) for inside in value] if isinstance(value, list | tuple) else value
