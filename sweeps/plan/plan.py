"""The plan: which models, and in which packs.

Models of one structure that are measured alike make a group, cut into packs in plan order. What is in a pack depends on
the spec alone, never on memory, speed or workers: so packs can be compared byte for byte.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import overload

import numpy as np

from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.plan.keys import Keys
from toymodels.sweeps.spec.schema import meaningless_without
from toymodels.sweeps.spec.settings import ROLES, Settings, digest
from toymodels.sweeps.spec.sweep import Sweep
from toymodels.sweeps.spec.tune import spelled
from toymodels.training.experiment import Experiment

PACK_ELEMENTS = 2**20
PACK_MODELS = 1024
LAYER_NORM = "model.layer_norm"
OF_LAYER_NORM = meaningless_without(LAYER_NORM)
"""what means nothing without a LayerNorm"""


@dataclass(frozen=True)
class Pack:
    """Models that train together and share a file: ``models`` are their ids, in plan order."""

    index: int
    models: tuple[int, ...]


class Packs(Sequence[Pack]):
    """The packs of a plan, each made when it is asked for: ``models`` pack by pack, and where each pack ends."""

    def __init__(self, models: np.ndarray, ends: np.ndarray) -> None:
        self._models, self._ends = models, ends

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> Pack: ...
    @overload
    def __getitem__(self, index: slice) -> list[Pack]: ...
    def __getitem__(self, index: int | slice) -> Pack | list[Pack]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        start = self._ends[index - 1] if index else 0
        return Pack(index, tuple(self._models[start : self._ends[index]].tolist()))


@dataclass(frozen=True, eq=False)
class Plan:
    """Every cell of a sweep validated, and its packs: some tens of bytes a model.

    ``keys[i]`` identifies the settings of model i, ``groups[i]`` is its group, ``pack_sizes[g]`` how many models of
    group g fill a pack. Models are numbered as the cells are; in a folder that was extended
    (`toymodels.sweeps.plan.extending`) model i is cell ``cells[i]``, and ``starts`` are the first models of its first
    sweep and of every extension.
    """

    sweep: Sweep
    keys: Keys
    groups: np.ndarray
    pack_sizes: Sequence[int]
    repeated: int = 0
    """models without LayerNorm that differ from another one in nothing but its settings"""
    notes: tuple[str, ...] = ()
    """what should be known of some models before they are trained, a sentence each"""
    cells: np.ndarray | None = None
    starts: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def hash(self) -> str:
        """Identifies the models, their order, what extended what, and how they were tuned: with these, the packs."""
        lines = [self.keys.lines(), *(f"extended at {start}" for start in self.starts[1:])]
        if self.sweep.tuning is not None:
            lines.append(f"tuned by {spelled(self.sweep.tuning.definition())}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def n_groups(self) -> int:
        """How many groups the models make."""
        return len(self.pack_sizes)

    @cached_property
    def packs(self) -> Packs:
        """The packs, group by group in the order of their first models; those of an extension after all others."""
        models, filled = [], []
        for start, end in pairwise((*self.starts, len(self))):
            groups, first, of, counts = np.unique(self.groups[start:end], True, True, True)
            models.append((start + np.argsort(first[of], kind="stable")).astype(np.uint32))
            for place in np.argsort(first).tolist():
                size, count = self.pack_sizes[int(groups[place])], int(counts[place])
                filled += [min(size, count - done) for done in range(0, count, size)]
        return Packs(np.concatenate(models), np.cumsum(filled))

    def cell(self, model: int) -> int:
        """The cell of the sweep that this model is."""
        return model if self.cells is None else int(self.cells[model])

    def is_primary(self, model: int) -> bool:
        """Whether ``[primary]`` names settings that this model has."""
        return self.sweep.is_primary(self.cell(model))

    def settings(self, models: Sequence[int]) -> list[Settings]:
        """The resolved settings of some of the models."""
        return [self.sweep.settings(self.cell(model)) for model in models]

    def experiments(self, settings: Sequence[Settings]) -> list[Experiment]:
        """What `toymodels` trains for these settings."""
        return [each.experiment(self.sweep.where) for each in settings]


def make_plan(sweep: Sweep) -> Plan:
    """Validate every cell and group the models; raises `SpecError` before anything is trained."""
    sweep.measure_with_own()
    digests, without_norm = bytearray(), bytearray()
    groups, number = array("I"), dict[Hashable, int]()
    pack_sizes: list[int] = []
    notes: dict[str, None] = {}
    for cell in range(len(sweep)):
        settings = sweep.settings(cell)
        built = settings.experiment(sweep.where)
        # Code of one's own by its name too: what stands in for it elsewhere may not be equal where it is.
        own = tuple(settings[name] for name in ROLES if ":" in settings[name])
        group = number.setdefault((built.structure(), settings["eval.samples"], own), len(number))
        if group == len(pack_sizes):
            pack_sizes.append(pack_size(built))
            notes |= dict.fromkeys(built.notes())
        groups.append(group)
        said = settings.non_default()
        digests += digest(said)
        if not settings[LAYER_NORM]:
            without_norm += digest({name: value for name, value in said.items() if name not in OF_LAYER_NORM})
    keys, alike = Keys(digests), Keys(without_norm)
    if keys.distinct() < len(keys):
        raise SpecError(f"{sweep.where}: two cells of the grid have the same settings: remove one")
    return Plan(sweep, keys, np.asarray(groups), pack_sizes, len(alike) - alike.distinct(), tuple(notes))


def pack_size(e: Experiment) -> int:
    """Models a pack: what keeps one training batch of all of them near 4 MiB, at most 1,024."""
    elements = e.training.batch * (e.sizes.said + e.sizes.embedding + e.sizes.hidden)
    return min(PACK_MODELS, max(1, PACK_ELEMENTS // elements))
