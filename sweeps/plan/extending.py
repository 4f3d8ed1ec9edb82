"""Extending: models added to those that a run folder has.

A folder's models keep their numbers, keys and packs for good. The cells of a larger sweep that it has not got are
appended in the order of that sweep, as models and packs whose numbers go on. So every model of an extended folder is a
cell of its newest sweep, and its plan is that sweep's with the cells in another order.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from toymodels.sweeps.plan.plan import Plan
from toymodels.sweeps.spec.resolved import changed_keys
from toymodels.sweeps.spec.sweep import Sweep


@dataclass(frozen=True)
class Difference:
    """The models of a sweep against those of a folder: ``cells[i]`` is the folder's model i in the sweep, or -1."""

    cells: np.ndarray
    lacking: int
    """models of the folder that the sweep has not got"""
    more: int
    """models of the sweep that the folder has not got"""


def difference(old: Plan, new: Plan) -> Difference:
    """What a sweep, as planned by itself, has more or less than a folder of plan ``old``."""
    cells = new.keys.find(old.keys)
    lacking = int((cells < 0).sum())
    return Difference(cells, lacking, len(new) - len(old) + lacking)


def extended(old: Plan, new: Plan) -> Plan | None:
    """The plan of a folder of plan ``old`` once a sweep, as planned by itself, was added; None where it cannot be."""
    found = difference(old, new)
    if found.lacking or not found.more or not tuned_alike(old.sweep, new.sweep):
        return None
    added = np.ones(len(new), bool)
    added[found.cells] = False
    cells = np.concatenate([found.cells, np.flatnonzero(added)]).astype(np.uint32)
    starts = (*old.starts, len(old))
    return replace(new, keys=new.keys.of(cells), groups=new.groups[cells], cells=cells, starts=starts)


def tuned_alike(old: Sweep, new: Sweep) -> bool:
    """Whether one folder may hold models of both: neither is tuned, or both with the same candidates, seeds and steps.

    Otherwise arms would have been chosen among other candidates than those that they are compared with.
    """
    was, now = old.tuning, new.tuning
    return was is now if was is None or now is None else not was.changed(now)


def extends(new: Plan, old: Plan) -> bool:
    """Whether ``new`` was made from ``old`` by `extended`."""
    return new.starts == (*old.starts, len(old)) and new.keys[: len(old)] == old.keys


def continued(old: Plan, new: Plan, extend: bool) -> Plan:
    """The plan by which a sweep, as planned by itself, goes on in a folder of plan ``old``.

    That is ``old`` for the same sweep (with ``extend``, the same models in any order), and with ``extend`` the longer
    one for a sweep that has them all and more; for any other it is ``new``, which the folder will refuse.
    """
    longer = extended(old, new) if extend else None
    if longer is not None:
        return longer
    found = difference(old, new)
    in_order = extend or all(old.cell(model) == cell for model, cell in enumerate(found.cells.tolist()))
    same = in_order and not (found.lacking or found.more) and tuned_alike(old.sweep, new.sweep)
    return old if same else new


def refusal(old: Plan, new: Plan, newest: Path, folder: Path) -> str:
    """Why a folder of plan ``old``, whose newest sweep is in that file, does not take ``new``, and what to do."""
    if len(new.starts) > 1 or continued(old, new, False) is old:
        return "was extended just now: run the same command again"
    found, changed = difference(old, new), ", ".join(changed_keys(old.sweep, new.sweep)) or "its models"
    sentence, elsewhere = f"holds another sweep (changed: {changed})", "give --out another folder"
    if not tuned_alike(old.sweep, new.sweep):
        return f"{sentence}: {elsewhere}"
    if found.more and not found.lacking:
        return f"{sentence}: --extend adds the {found.more:,} models that it has not got, or {elsewhere}"
    if found.lacking and not found.more:
        goes_on = f"toymodels sweep {shlex.quote(str(newest))} --out {shlex.quote(str(folder))}"
        return f"{sentence}, with every model of this one: '{goes_on}' continues it, or {elsewhere}"
    return f"{sentence}: {elsewhere}"
