"""Known: what an engine with kernels of its own has code for, and what it therefore refuses.

What is not listed is refused by name, never left out in silence: neither a class, nor a setting that was added later.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toymodels.features import Features
from toymodels.targets import And
from toymodels.training.experiment import Experiment
from toymodels.training.optimizers import RotatedAdam


@dataclass(frozen=True)
class Known:
    """What one engine knows of experiments."""

    engine: str
    """its name"""
    parts: Mapping[str, Collection[type]]
    """of each part that is a choice (activation, output, target, loss, value law, firing law, optimizer) the classes"""
    settings: Mapping[type, str]
    """of each class that experiments are made of, the names of its settings"""
    lacking: Mapping[type, str]
    """of the settings that are not there, those that are the same for all models of one structure"""

    def unsupported(self, experiments: Sequence[Experiment]) -> str | None:
        """Why the engine cannot train these experiments of one structure, in a sentence, or None if it can."""
        experiment, engine = experiments[0], f"the {self.engine} engine"
        f, b, t = experiment.features, experiment.bottleneck, experiment.training
        if not isinstance(f, Features):
            return f"{engine} does not know the class {type(f).__name__}: use engine autograd"
        if reason := self._unknown(experiments):
            return f"{engine} does not know {reason}: use engine autograd"
        chosen = {
            "activation": b.activation,
            "output": b.output,
            "target": experiment.target,
            "loss": experiment.cost,
            "value law": f.values,
            "firing law": f.firing,
            "optimizer": t.optimizer,
        }
        for what, part in chosen.items():
            if type(part) not in self.parts[what]:
                names = ", ".join(each.name for each in self.parts[what])
                name = getattr(part, "name", "")
                named = f"'{name}' of class {type(part).__name__}" if name in names.split(", ") else f"'{name}'"
                return f"{engine} has no kernel for {what} {named} (it has {names}): use engine autograd"
        return None

    def every_setting(self) -> bool:
        """Whether one model says of all of its structure what ``settings`` lacks."""
        fields = ((kind, field.name) for kind in self.settings for field in dataclasses.fields(kind))
        return all(name in f"{self.settings[kind]} {self.lacking.get(kind, '')}".split() for kind, name in fields)

    def _unknown(self, experiments: Sequence[Experiment]) -> str | None:
        """A class or setting that was added after this engine, which would be left out in silence."""
        for place, part in enumerate(self._parts(experiments[0])):
            if part is None:
                continue
            kind = type(part)
            if kind not in self.settings:
                return f"the class {kind.__name__}"
            for field in dataclasses.fields(kind):
                known = field.name in self.settings[kind].split()
                if not known and any(_is_set(self._parts(each)[place], field) for each in experiments):
                    return f"the setting '{field.name}' of {kind.__name__}"
        return None

    def _parts(self, experiment: Experiment) -> tuple[Any, ...]:
        """What an experiment is made of and has settings; None for what it lacks, and for an unknown optimizer."""
        f, b, t = experiment.features, experiment.bottleneck, experiment.training
        assert isinstance(f, Features)
        optimizer = t.optimizer if type(t.optimizer) in self.parts["optimizer"] else None
        adam = optimizer.adam if isinstance(optimizer, RotatedAdam) else None
        pairs = experiment.target if type(experiment.target) is And else None
        return experiment, f, f.frequency, f.importance, b, b.layer_norm, b.embedding, pairs, t, optimizer, adam


def _is_set(part: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field has another value than its default."""
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return getattr(part, field.name) != default
