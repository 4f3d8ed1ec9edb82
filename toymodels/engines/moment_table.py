"""The table of moments: what every engine sums over samples, and in which order a kernel lays the sums down.

t is the target, y the prediction of it that the output makes, z the preactivation, and a tap is one of `TAPS`, places
in the hidden layer:

    pre = z,    mid = act(z),    post = LayerNorm(mid), or mid where there is none

`toymodels.metrics.moments.Moments` holds the means, under the names given here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TAPS = ("pre", "mid", "post")

Axes = tuple[Literal["feature", "target", "hidden"], ...]


@dataclass(frozen=True)
class Row:
    """One moment: what is summed, over which axes, and at which tap."""

    name: str
    axes: Axes
    """after ``model``, which every moment has"""
    tap: str | None = None
    """which of `TAPS` it is of; None for what is of none, or of two"""

    @property
    def key(self) -> str:
        """What engines call its sums: the name, and the tap if it has one."""
        return self.name if self.tap is None else f"{self.name} {self.tap}"


MODEL: Axes = ()
FEATURE: Axes = ("feature",)
TARGET: Axes = ("target",)
HIDDEN: Axes = ("hidden",)

TABLE: tuple[Row, ...] = (
    Row("active", FEATURE),
    Row("t", TARGET),
    Row("tt", TARGET),
    Row("y", TARGET),
    Row("yy", TARGET),
    Row("squared_error", TARGET),
    Row("cost", TARGET),
    Row("squared_loss", MODEL),
    *(Row("tap", HIDDEN, tap) for tap in TAPS),
    *(Row("tap_squared", HIDDEN, tap) for tap in TAPS),
    *(Row("tap_target", ("hidden", "target"), tap) for tap in TAPS),
    Row("tap_tap", ("hidden", "hidden"), "pre"),
    Row("mid_pre", ("hidden", "hidden")),
    Row("tap_tap", ("hidden", "hidden"), "mid"),
    Row("tap_tap", ("hidden", "hidden"), "post"),
)
"""In the order of `toymodels.kernels.moments`."""
