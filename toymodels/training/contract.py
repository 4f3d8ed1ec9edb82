"""The contract of an engine: what `train` promises, whichever engine keeps it.

An engine takes experiments and returns `Trained`. A model diverges at a step when its loss, a gradient or its update is
not finite, or its loss exceeds `CEILING` times where it started; the loss after the last step counts too. It is frozen
as it was before that step and marked; its neighbours never notice.
"""

from __future__ import annotations

from collections.abc import Callable

CEILING = 1e6

OnStep = Callable[[float], None]
"""Called now and then with the number of steps that all models together advanced since the last call."""

OnProgress = Callable[[float], None]
"""Called now and then with how many models' worth of training was done since the last call."""


class Unsupported(ValueError):
    """An engine was asked for what it has no code for; the sentence names it."""
