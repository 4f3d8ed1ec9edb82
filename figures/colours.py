"""Colours: one for each thing that figures name, told apart by the colour-blind, on a light page and on a dark one.

The hues are those of Okabe and Ito (2008, *Color Universal Design*), and two of ColorBrewer's for what is left. What a
colour is depends on the page that is drawn on, so each is asked for when it is needed, `in_our_style`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.colors import to_rgb
from numpy.typing import ArrayLike

from toymodels.sweeps.results.arms import HIDDEN_LAYER

Colour = tuple[float, float, float]

HUES = {
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "orange": "#e69f00",
    "purple": "#cc79a7",
    "sky": "#56b4e9",
    "brown": "#8c510a",
    "violet": "#762a83",
}
OF_ACTIVATIONS = {"relu": "green", "gelu": "blue", "solu": "vermillion"}
OF_OTHERS = ("orange", "purple", "sky", "brown", "violet")
"""of activations without a hue of their own, in the order in which they come"""
OF_TIERS = {"neuron": "orange", "hidden": "violet"}
LIFTED = 0.35
"""how far a hue is mixed with white on a dark page"""
TINTED, TINTED_ON_DARK = 0.5, 0.35
"""how far an arm without LayerNorm is mixed with the page"""


def page() -> Colour:
    """The colour of the page, white or nearly black."""
    return to_rgb(rcParams["figure.facecolor"])


def on_dark() -> bool:
    """Whether the page is a dark one."""
    return _luminance(page()) < 0.5


def ink(strength: float) -> Colour:
    """A grey from the page's own colour, at 0, to that of its text, at 1."""
    return tint(to_rgb(rcParams["text.color"]), 1 - strength)


def hue(name: str) -> Colour:
    """The hue of this name in `HUES`, as it stands on the page."""
    return _mixed(to_rgb(HUES[name]), (1.0, 1.0, 1.0), LIFTED if on_dark() else 0.0)


def tint(colour: Colour, share: float) -> Colour:
    """A colour of which ``share``, from 0 to 1, is the page's."""
    return _mixed(colour, page(), share)


def shade(colour: Colour, layer_norm: bool) -> Colour:
    """A colour as it stands for a layer with LayerNorm, or tinted for one without."""
    return colour if layer_norm else tint(colour, TINTED_ON_DARK if on_dark() else TINTED)


def colour_of(layer: str) -> Colour:
    """The colour of the activation that the name of a layer begins with, ``solu + LN`` or ``relu, 4 experts``; a grey
    of one that has none of its own, where all such layers may look alike."""
    name = OF_ACTIVATIONS.get(layer.replace(",", " ").partition(" ")[0])
    if name is not None:
        return hue(name)
    return ink(0.42 if on_dark() else 0.6)  # as light as no hue is, which is how some of the colour-blind tell them


def layer_colours(models: pd.DataFrame) -> dict[tuple[str, bool], Colour]:
    """A colour for each hidden layer that there is, tinted without LayerNorm."""
    others = iter(OF_OTHERS * 8)
    of_activation = {
        name: colour_of(name) if name in OF_ACTIVATIONS or name == "linear" else hue(next(others))
        for name in models["model.activation"].unique()
    }
    layers = models[list(HIDDEN_LAYER)].drop_duplicates().itertuples(index=False)
    return {(activation, norm): shade(of_activation[activation], norm) for activation, norm in layers}


def tier_colour(tier: str) -> Colour:
    """The colour of a tier; a light grey of what is lost."""
    return hue(OF_TIERS[tier]) if tier in OF_TIERS else ink(0.28)


def along(shares: ArrayLike) -> list[Colour]:
    """A colour for each of ``shares``, from the strongest on this page, at 0, to the weakest that one sees, at 1."""
    first, last = (0.97, 0.3) if on_dark() else (0.0, 0.87)
    return [to_rgb(colour) for colour in colormaps["viridis"](first + (last - first) * np.asarray(shares))]


def sequence(count: int) -> list[Colour]:
    """So many colours in an order, evenly spaced `along` it."""
    return along(np.linspace(0, 1, count))


def by_importance(importance: np.ndarray) -> list[Colour]:
    """A colour a feature, the strongest of the most important one; all of them that one where none is more so."""
    least, most = float(importance.min()), float(importance.max())
    return along((most - importance) / (most - least) if most > least else np.zeros(len(importance)))


def on(colour: Colour) -> str:
    """Black or white: what is read on this colour."""
    return "white" if _luminance(colour) < 0.55 else "black"


def _mixed(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (part + share * (to - part) for part, to in zip(colour, other, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    return float(np.dot(colour, (0.299, 0.587, 0.114)))
