"""power: the share of each answer of the battery against the strength at which two tiers are planted, a panel a K.

K is the number of features of tier one. At strength 0 are the trained models of the primary regime, in which *two
tiers* is false; at strength 1 *a continuum* is. Markers of its own, beside the axis, show the models of full strength
whose z is rotated: they have no tier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from toymodels.figures.colours import hue, ink
from toymodels.figures.drawing import WIDTH

ANSWERS: dict[str, tuple[str, str]] = {
    "two tiers": ("vermillion", "o"),
    "a continuum": ("orange", "s"),
    "no second tier": ("green", "^"),
    "no first tier": ("sky", "v"),
    "not testable": ("", "x"),
    "undetermined": ("", "."),
}
"""Hue and marker of every answer; what says nothing has none, and is grey."""
ROTATED_AT = 1.13


def draw(table: Mapping[str, Any]) -> Figure:
    """The figure of the document of ``power.json``."""
    points = table["points"]
    sizes = sorted({point["aligned"] for point in points})
    figure = Figure(figsize=(min(WIDTH, max(5.0, 2.2 * len(sizes) + 1.2)), 2.8))
    axes = figure.subplots(1, len(sizes), sharex=True, sharey=True, squeeze=False)[0]
    for size, axis in zip(sizes, axes, strict=True):
        of_size = [point for point in points if point["aligned"] == size]
        planted = sorted((p for p in of_size if not p["rotated"]), key=lambda p: p["strength"])
        strengths = [point["strength"] for point in planted]
        for answer, (name, marker) in ANSWERS.items():
            colour = hue(name) if name else ink(0.6)
            shares = [point["answers"].get(answer, 0.0) for point in planted]
            axis.plot(strengths, shares, color=colour, marker=marker, markersize=4, label=answer, clip_on=False)
            for point in of_size:
                if point["rotated"] and (share := point["answers"].get(answer, 0.0)):
                    axis.plot([ROTATED_AT], [share], color=colour, marker=marker, markersize=4, clip_on=False)
        if any(point["rotated"] for point in of_size):
            axis.axvline((1 + ROTATED_AT) / 2, color=ink(0.3), linewidth=0.6)
            axis.text(ROTATED_AT, 0.5, "rotated", ha="center", va="center", rotation=90, fontsize=6, color=ink(0.6))
        draws = planted[0]["draws"] if planted else 0
        axis.set_title(f"K = {size}\n{draws} verdict{'s' * (draws != 1)} a point")
    last = 1.2 if any(point["rotated"] for point in points) else 1.03
    axes[0].set(xlim=(-0.03, last), ylim=(-0.02, 1.02), ylabel="share of verdicts", xticks=[0, 0.25, 0.5, 0.75, 1])
    axes[0].set_xticklabels(["0", "", ".5", "", "1"])
    figure.supxlabel("strength at which two tiers are planted", fontsize=9)
    said = f"each verdict on {table['seeds']} of {table['pool']} models of the primary regime"
    figure.suptitle(said, fontsize=8, color=ink(0.6))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7)
    return figure
