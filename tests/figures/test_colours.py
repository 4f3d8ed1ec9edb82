"""Colours: told from each other by the colour-blind, and from the page, light or dark."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from tests.figures.legible import contrast
from toymodels.figures import colours
from toymodels.figures.drawing import in_our_style

DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
}
"""what is seen of linear red, green and blue (Machado, Oliveira and Fernandes 2009, severity 1)"""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def lab(colour: colours.Colour, seen: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of a colour as it is seen."""
    parts = np.asarray(colour)
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(seen @ linear, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("seen", DEFICIENCIES.values(), ids=list(DEFICIENCIES))
def test_activations_and_tiers_differ_for_the_colour_blind(dark: bool, seen: np.ndarray) -> None:
    with in_our_style(dark=dark):
        layers = [colours.colour_of(name) for name in ("linear", "relu", "gelu", "solu")]
        tiers = [colours.tier_colour(tier) for tier in ("neuron", "hidden", "lost")]
    for group in (layers, tiers):
        for one, other in combinations(group, 2):
            assert np.linalg.norm(lab(one, seen) - lab(other, seen)) > 15


@pytest.mark.parametrize("dark", [False, True])
def test_every_colour_stands_out_from_the_page(dark: bool) -> None:
    with in_our_style(dark=dark):
        page = colours.page()
        assert colours.on_dark() is dark
        assert min(contrast(colours.hue(name), page) for name in colours.HUES) > 2
        assert (
            min(contrast(colours.shade(colours.colour_of(name), False), page) for name in ("relu", "gelu", "solu"))
            > 1.5
        )
        assert min(contrast(colour, page) for colour in colours.sequence(9)) > 1.5
        assert colours.ink(0) == pytest.approx(page)
        assert contrast(colours.ink(1), page) > 12


def test_a_layer_without_layer_norm_is_nearer_to_the_page() -> None:
    models = pd.DataFrame({"model.activation": ["solu", "solu", "silu"], "model.layer_norm": [True, False, True]})
    with in_our_style():
        found = colours.layer_colours(models)
        assert found["solu", True] == colours.hue("vermillion")
        assert found["solu", False] == colours.tint(colours.hue("vermillion"), colours.TINTED)
        assert found["silu", True] == colours.hue(colours.OF_OTHERS[0])
        assert contrast(found["solu", False], colours.page()) < contrast(found["solu", True], colours.page())


def test_the_most_important_feature_is_strongest_and_equal_ones_are_alike() -> None:
    with in_our_style():
        first, second, third = colours.by_importance(np.array([1.0, 0.5, 0.25]))
        assert contrast(first, colours.page()) > contrast(second, colours.page()) > contrast(third, colours.page())
        assert len(set(colours.by_importance(np.ones(4)))) == 1


@pytest.mark.parametrize("colour, text", [((1, 1, 1), "black"), ((0, 0, 0), "white"), ((0.9, 0.6, 0), "black")])
def test_what_is_written_on_a_colour_can_be_read(colour: colours.Colour, text: str) -> None:
    assert colours.on(colour) == text
