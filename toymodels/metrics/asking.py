"""Asking: quantities by name, each computed once, when it is first asked for, and each alone in its failure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from toymodels.training.memory import is_of_device


class Unmeasured(Exception):
    """A quantity that could not be computed, and why."""


class Ask:
    """Quantities that may ask for one another: ``ask("features.r2")``."""

    def __init__(self, quantities: Mapping[str, Callable[[Ask], Tensor]]) -> None:
        self._quantities = quantities
        self._found: dict[str, Tensor | Unmeasured] = {}

    def __call__(self, name: str) -> Tensor:
        """Its value. Raises `Unmeasured` where it, or what it asks for, raised anything; but what a GPU raises that is
        full or lost, which says nothing of the quantity."""
        if name not in self._found:
            self._found[name] = self._compute(name)
        found = self._found[name]
        if isinstance(found, Unmeasured):
            raise found
        return found

    def _compute(self, name: str) -> Tensor | Unmeasured:
        try:
            return self._quantities[name](self)
        except Unmeasured as failure:
            return failure
        except Exception as error:
            if is_of_device(error):
                raise
            return Unmeasured(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
