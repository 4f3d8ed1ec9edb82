"""The plan: which models, and in which packs.

Models of one structure that are measured alike make a group, cut into packs in plan order. What is in a pack depends on
the spec alone, never on memory, speed or workers: so packs can be compared byte for byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from sweeps.building import experiment
from sweeps.errors import SpecError
from sweeps.spec import Settings, canonical_json
from sweeps.sweep import Sweep
from toymodels.training.experiment import Experiment

PACK_ELEMENTS = 2**20
PACK_MODELS = 1024
OF_LAYER_NORM = ("model.layer_norm_eps", "model.layer_norm_affine")
"""what means nothing without a LayerNorm"""


@dataclass(frozen=True)
class Pack:
    """Models that train together and share a file: ``models`` are their ids, in plan order."""

    index: int
    models: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Every cell of a sweep validated, and its packs. ``keys[i]`` identifies the settings of model i."""

    sweep: Sweep
    keys: tuple[str, ...]
    packs: tuple[Pack, ...]
    n_groups: int
    repeated: int = 0
    """models without LayerNorm that differ from another one in nothing but its settings"""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def hash(self) -> str:
        """Identifies the models and their order."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()

    def settings(self, models: Sequence[int]) -> list[Settings]:
        """The resolved settings of some of the models."""
        return [self.sweep.settings(model) for model in models]

    def experiments(self, settings: Sequence[Settings]) -> list[Experiment]:
        """What `toymodels` trains for these settings."""
        return [experiment(s, self.sweep.where) for s in settings]


def make_plan(sweep: Sweep) -> Plan:
    """Validate every cell and group the models; raises `SpecError` before anything is trained."""
    keys: list[str] = []
    groups: dict[Hashable, list[int]] = {}
    sizes: dict[Hashable, int] = {}
    without_norm: list[str] = []
    for model in range(len(sweep)):
        settings = sweep.settings(model)
        built = experiment(settings, sweep.where)
        group = (built.structure(), settings.eval)
        if group not in groups:
            groups[group], sizes[group] = [], pack_size(built)
        groups[group].append(model)
        keys.append(settings.key())
        if not settings.model.layer_norm:
            of_it = {name: value for name, value in settings.non_default().items() if name not in OF_LAYER_NORM}
            without_norm.append(canonical_json(of_it))
    if len(set(keys)) < len(keys):
        raise SpecError(f"{sweep.where}: two cells of the grid have the same settings: remove one")
    packs = [
        models[start : start + sizes[group]]
        for group, models in groups.items()
        for start in range(0, len(models), sizes[group])
    ]
    numbered = tuple(Pack(index, tuple(models)) for index, models in enumerate(packs))
    return Plan(sweep, tuple(keys), numbered, len(groups), len(without_norm) - len(set(without_norm)))


def pack_size(e: Experiment) -> int:
    """Models a pack: what keeps one training batch of all of them near 4 MiB, at most 1,024."""
    elements = e.training.batch * (e.features.n + e.bottleneck.hidden)
    return min(PACK_MODELS, max(1, PACK_ELEMENTS // elements))
