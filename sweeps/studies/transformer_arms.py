"""Arms of transformers: the models of one activation and LayerNorm, each of its own seed.

Arms are compared, model by model and feature by feature, where those of one seed were trained on the same language and
have the same features; otherwise nothing is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toymodels.hypotheses.arms import MAIN
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.store.transformer_files import StoredTransformer
from toymodels.transformers.adapter import NORMED


@dataclass(frozen=True)
class TransformerArm:
    """Models of one activation and LayerNorm, in the order of their seeds."""

    name: str
    models: tuple[StoredTransformer, ...]

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """Each model's seed; None where its configuration has none."""
        return tuple(model.seed for model in self.models)


def arms_of(models: Sequence[StoredTransformer]) -> list[TransformerArm]:
    """The arms that models make up. Raises `SpecError` where those of one differ in their sizes."""
    by_name: dict[str, list[StoredTransformer]] = {}
    for model in models:
        name = model.act_fn.removesuffix(NORMED)
        by_name.setdefault(f"{name} + LN" if name != model.act_fn else name, []).append(model)
    for name, of in by_name.items():
        sizes = {(model.bridge.cfg.d_model, model.bridge.cfg.d_mlp) for model in of}
        if len(sizes) > 1:
            raise SpecError(f"{name}: expected models of one size, got d_model and d_mlp {sorted(sizes)}")
    for name, of in by_name.items():
        known = [model.seed for model in of if model.seed is not None]
        if len(set(known)) < len(known):
            raise SpecError(f"{name}: expected a seed of its own for each model, as intervals are over seeds")
    keyed = {
        name: sorted(of, key=lambda model: -1 if model.seed is None else model.seed) for name, of in by_name.items()
    }
    return [TransformerArm(name, tuple(of)) for name, of in sorted(keyed.items(), key=lambda each: each[0] != MAIN)]


def unpaired(arms: Sequence[TransformerArm], names: Mapping[str, tuple[tuple[str, ...], ...]]) -> str:
    """Why arms cannot be compared, feature by feature, in a sentence; nothing where they can."""
    if len({arm.seeds for arm in arms}) > 1 or None in arms[0].seeds:
        return "Arms do not have the same seeds, so they are not compared."
    if len({tuple(model.language for model in arm.models) for arm in arms}) > 1:
        return "Models of one seed were trained on different languages, so arms are not compared."
    if len(set(names.values())) > 1:
        return "Models of one seed have different features, so arms are not compared."
    return ""
