"""Keeping: where unfinished models stand, put away now and then, so that an interruption costs seconds of training.

A *state* is tensors by name: everything that training changes, and ``step`` [model], how many steps are done. Whoever
wants it kept hands an engine a `Keep`; the engine saves into it, and begins where it left off. The models come out bit
for bit as they do undisturbed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

KEEP_SECONDS = 30.0
"""How often a state is kept: writing it takes a hundredth of that."""
WORTH_SECONDS = 1.0
"""Training that is worth keeping where it is interrupted: less is soon done again."""


class Keep(ABC):
    """Keeps the state of one batch of models. A subclass says where, in ``load``, ``save`` and ``part``."""

    seconds: float = KEEP_SECONDS
    """of training between one ``save`` and the next"""

    @abstractmethod
    def load(self) -> dict[str, Tensor] | None:
        """What was saved last, on the CPU; None where nothing was."""

    @abstractmethod
    def save(self, state: Mapping[str, Tensor]) -> None:
        """Put a state away in place of the one before. Its tensors may change once this returns."""

    @abstractmethod
    def part(self, first: int, last: int) -> Keep:
        """What keeps models ``first`` to ``last - 1`` of this batch, where lack of memory divides it."""

    def refused(self, reason: str) -> None:
        """What ``load`` gave is of no use, for this reason: training begins at the start."""
        return

    def resumed(self, models: float) -> None:
        """What ``load`` gave is used: so many models' worth of training is done already."""
        return

    @property
    def worth_seconds(self) -> float:
        """Of training that are saved where it is interrupted."""
        return min(WORTH_SECONDS, self.seconds)


def resume(
    keep: Keep | None, start: Mapping[str, Tensor], steps: int, most: int, in_step: bool = False
) -> dict[str, Tensor] | None:
    """What ``keep`` has, if training can begin there; None if it begins at the start.

    It can at a state like the one at the ``start``, after ``most`` steps or fewer; the whole training has ``steps``.
    Models that are trained ``in_step`` must all have done the same number of them.
    """
    state = keep.load() if keep is not None else None
    if keep is None or state is None:
        return None
    if reason := _misfit(state, start, most, in_step):
        keep.refused(reason)
        return None
    keep.resumed(state["step"].clamp(max=steps).sum().item() / steps)
    return state


def _misfit(state: Mapping[str, Tensor], start: Mapping[str, Tensor], most: int, in_step: bool) -> str | None:
    """Why training cannot begin at a state, or None."""
    if state.keys() != start.keys():
        return f"expected {', '.join(sorted(start))}, got {', '.join(sorted(state))}"
    for name, tensor in start.items():
        for what in ("shape", "dtype"):
            expected, got = getattr(tensor, what), getattr(state[name], what)
            if expected != got:
                return f"{name}: expected {what} {expected}, got {got}"
    for name in ("step", "diverged_step"):
        if not ((state[name] >= 0) & (state[name] <= most)).all():
            return f"{name}: expected 0 to {most}"
    first, last = state["step"].aminmax()
    return f"step: expected the same of every model, got {first} to {last}" if in_step and first < last else None
