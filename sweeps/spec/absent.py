"""Stand-ins: what is in the place of code of one's own where a run folder is read without it.

They have the name and the sizes that a plan needs, so that packs are found and read; asked to compute anything, they
raise one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from torch import Tensor

from toymodels.activations import Activation, Elementwise
from toymodels.roles import Absent
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.spec.code import Code
from toymodels.targets import Says, Target
from toymodels.values import Values


class CodeAbsent(FolderError):
    """A model was asked to run whose code is not there."""


@dataclass(frozen=True)
class AbsentCode(Code):
    """Nothing is imported: members that can be named and not used. ``targets`` says how many numbers each target of
    one's own has of n features, which a manifest holds."""

    targets: Mapping[str, Any] = field(default_factory=dict)

    def member(self, setting: str, word: str, kind: type) -> Any:
        """See `Code`."""
        if kind is Activation:
            return AbsentActivation(word)
        if kind is Values:
            return AbsentValues(word)
        said = self.targets.get(word)
        counts = said.items() if isinstance(said, Mapping) else ()
        known = tuple((int(n), count) for n, count in counts if str(n).isdecimal() and type(count) is int)
        return AbsentTarget(word, said is None, known)

    def measure_with(self, words: Sequence[str]) -> None:
        """See `Code`."""


def _refuse(word: str) -> NoReturn:
    raise CodeAbsent(
        f"'{word}' is code of your own that was not imported: tables and weights can be read; to run the model allow "
        "it, by --allow-code or toymodels.load(..., allow_code=True)"
    )


@dataclass(frozen=True)
class AbsentActivation(Absent, Elementwise):
    """In the place of an activation."""

    name: str

    def __call__(self, z: Tensor, dim: int = -1) -> Tensor:
        """Raise `CodeAbsent`."""
        _refuse(self.name)

    def derivative(self, z: Tensor) -> Tensor:
        """Raise `CodeAbsent`."""
        _refuse(self.name)


@dataclass(frozen=True)
class AbsentValues(Absent, Values):
    """In the place of a value law."""

    name: str

    def from_uniform(self, v: Tensor) -> Tensor:
        """Raise `CodeAbsent`."""
        _refuse(self.name)


@dataclass(frozen=True)
class AbsentTarget(Absent, Target):
    """In the place of a target, of features or of so many numbers: pairs of n and the count."""

    name: str
    of_features: bool  # pyright: ignore[reportIncompatibleVariableOverride]
    counts: tuple[tuple[int, int], ...] = ()

    def of(self, n: int, seeds: np.ndarray) -> Says:
        """Raise `CodeAbsent`."""
        _refuse(self.name)

    def count(self, n: int) -> int:
        """How many numbers the manifest says that a model of ``n`` features must say."""
        if self.of_features:
            return n
        return dict(self.counts).get(n) or _refuse(self.name)

    def importance(self, feature_importance: np.ndarray, seed: int) -> np.ndarray:
        """Raise `CodeAbsent`."""
        _refuse(self.name)
