"""The contract of an engine: what `train` promises, whichever engine keeps it.

An engine takes experiments and returns `Trained`. A model diverges at a step when its loss, a gradient or its update is
not finite, or its loss exceeds `CEILING` times where it started; the loss after the last step counts too. It is frozen
as it was before that step and marked; its neighbours never notice.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

CEILING = 1e6


class Advance(float):
    """How many steps all models together advanced since the last call of an `OnStep`; and how they stand."""

    losses: Tensor
    """[model]: the newest batch loss of each model that is known; NaN before there is one. On the autograd engine that
    of its last step; on the fused engine, which keeps no others, that of its last of `Training.curve_points`"""

    def __new__(cls, steps: float, losses: Tensor) -> Advance:
        advance = super().__new__(cls, steps)
        advance.losses = losses
        return advance


OnStep = Callable[[Advance], None]
"""Called now and then, on the caller's thread, with how far training has come."""

OnProgress = Callable[[float], None]
"""Called now and then with how many models' worth of training was done since the last call."""


class Unsupported(ValueError):
    """An engine was asked for what it has no code for; the sentence names it."""
