"""Code of one's own: what a word ``module:Name`` in a sweep file stands for, and who may find out.

``model.activation = "mine:Cube"`` names a class, which is made without arguments, or an instance of one in the module
``mine``; so do ``model.output``, ``features.values`` and ``task.target``. ``metrics = ["mine:kurtosis"]`` names what
`toymodels.metrics.register` returned. A sweep file alone has nothing imported: that takes ``--allow-code``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from toymodels.activations import Activation
from toymodels.metrics.own import OwnMetric, measuring
from toymodels.sweeps.errors import SpecError
from toymodels.sweeps.spec.importing import CodeError, imported, run_folder_of
from toymodels.sweeps.spec.plain import OWN_ROLES
from toymodels.sweeps.spec.wording import did_you_mean


class Code(ABC):
    """Where the members that a sweep names by ``module:Name`` come from."""

    sources: Mapping[str, str] = {}
    """the SHA-256 of the source of every module that was imported, by the module's name"""
    of_models: frozenset[str] = frozenset()
    """those that models are made of; on the others only measures depend"""

    @abstractmethod
    def member(self, setting: str, word: str, kind: type) -> Any:
        """The member of a role ``kind`` that this setting names. Raises `SpecError`."""

    def said(self) -> Sequence[str]:
        """A sentence for every module that was imported."""
        return [f"code of your own: {name}, SHA-256 {digest}" for name, digest in sorted(self.sources.items())]

    @abstractmethod
    def measure_with(self, words: Sequence[str]) -> None:
        """Have the metrics of these names measured in blocks of `measuring` from here on. Raises `SpecError`."""

    def measuring(self) -> AbstractContextManager[None]:
        """While the block runs, the sweep's metrics are measured."""
        return nullcontext()


class NoCode(Code):
    """Nothing is imported: a sweep that names code is refused."""

    def member(self, setting: str, word: str, kind: type) -> Any:
        """Raise `SpecError`."""
        raise SpecError(f"{setting}: '{word}' is code of your own, which is imported with --allow-code only")

    def measure_with(self, words: Sequence[str]) -> None:
        """Raise `SpecError` for any."""
        if words:
            raise SpecError(f"metrics: '{words[0]}' is code of your own, which is imported with --allow-code only")


NO_CODE = NoCode()


def own_code(sweep_file: Path | None = None) -> Imported:
    """What imports code of one's own for a sweep: from where Python has its packages, then from the folder of its file,
    then from the current one; from neither where it is in a run folder.
    """
    of_file = [] if sweep_file is None else [sweep_file.absolute().parent]
    folders = [each for each in dict.fromkeys([*of_file, Path.cwd()]) if run_folder_of(each) is None]
    return Imported(tuple(map(str, folders)))


@dataclass
class Imported(Code):
    """Modules are imported, from where Python has its packages and from these ``folders``."""

    folders: tuple[str, ...]
    sources: Mapping[str, str] = field(default_factory=dict)
    of_models: frozenset[str] = frozenset()
    metrics: tuple[str, ...] = ()
    _members: dict[tuple[str, type], Any] = field(default_factory=dict, repr=False)
    _measured: tuple[OwnMetric, ...] = field(default=(), repr=False)

    def member(self, setting: str, word: str, kind: type) -> Any:
        """See `Code`."""
        if (word, kind) not in self._members:
            found = self._named(setting, word)
            self._members[word, kind] = _member(f"{setting}: '{word}'", found, kind)
            self.of_models |= {word.partition(":")[0]}
        return self._members[word, kind]

    def measure_with(self, words: Sequence[str]) -> None:
        """See `Code`."""
        measured: dict[str, OwnMetric] = {}
        for word in words:
            found = self._named("metrics", word)
            if not isinstance(found, OwnMetric):
                raise CodeError(
                    f"metrics: '{word}': expected what toymodels.metrics.register returns, got {found!r:.60}"
                )
            if found.column in measured:
                raise CodeError(f"metrics: '{word}': is the column {found.column}, as another one is: choose another")
            measured[found.column] = replace(found, fingerprint=self.sources[word.partition(":")[0]])
        if words:
            self.metrics, self._measured = tuple(words), tuple(measured.values())

    def measuring(self) -> AbstractContextManager[None]:
        """See `Code`."""
        return measuring(self._measured)

    def check_same(self) -> None:
        """In another process: import the same modules and metrics. Raises `CodeError` where their source is another."""
        for module, digest in list(self.sources.items()):
            here = imported(module, self.folders)
            if here.digest != digest:
                raise CodeError(
                    f"{module}: a worker has other source of it, {here.place} (SHA-256 {here.digest[:12]} there and "
                    f"{digest[:12]} here): its packs would be other models; give all of them the same"
                )
        self.measure_with(self.metrics)

    def __getstate__(self) -> dict[str, Any]:
        """Without members and metrics, whose code another process may not have: it imports its own."""
        return {**vars(self), "_members": {}, "_measured": ()}

    def _named(self, setting: str, word: str) -> Any:
        module, _, name = word.partition(":")
        try:
            source = imported(module, self.folders)
        except CodeError as error:
            raise CodeError(f"{setting}: '{word}': {error}") from None
        self.sources = {**self.sources, module: source.digest}
        if not hasattr(source.module, name):
            public = [each for each in vars(source.module) if not each.startswith("_")]
            raise CodeError(f"{setting}: '{word}': {source.place} has no {name}{did_you_mean(name, public)}")
        return getattr(source.module, name)


def _member(what: str, found: Any, kind: type) -> Any:
    """A member of the role ``kind``, of what a module holds: an instance, or a class made without arguments."""
    role = OWN_ROLES[kind]
    made = found
    if isinstance(found, type) and issubclass(found, kind):
        try:
            made = found()
        except Exception as error:
            raise CodeError(
                f"{what}: cannot be made without arguments ({error}): name an instance, such as mine = "
                f"{found.__name__}(...)"
            ) from None
    if not isinstance(made, kind):
        raise CodeError(f"{what}: expected {role}, a subclass of toymodels.{kind.__name__}, got {found!r:.60}")
    if not isinstance(getattr(made, "name", None), str):
        raise CodeError(f"{what}: {role} has a name, a string, and this one has none")
    if type(made).__hash__ is None:
        raise CodeError(f"{what}: expected a frozen dataclass, got {type(made).__name__}, which has no hash")
    if isinstance(made, Activation):
        _try(what, made)
    return made


def _try(what: str, activation: Activation) -> None:
    z = torch.linspace(-1, 1, 6).reshape(1, 3, 2)
    try:
        shape = tuple(activation(z, dim=1).shape)
    except Exception as error:
        raise CodeError(f"{what}: raised {type(error).__name__}: {error}") from None
    if shape != tuple(z.shape):
        raise CodeError(f"{what}: expected act(z) of the shape of z, {tuple(z.shape)}, got {shape}")
