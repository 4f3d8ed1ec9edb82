"""A few figures beside images of them: small, of models by hand, told by their root mean square difference.

Where a figure is meant to look otherwise, ``python -m tests.figures.test_golden_images`` draws the images anew.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.figures.by_hand import neurons, phases, polygons
from toymodels.figures import figure_of, making

HERE = Path(__file__).with_name("golden")
DPI = 60
TOLERANCE = 0.02
"""of the root mean square over pixels and colours, each from 0 to 1; other versions of FreeType differ by less"""
POWER = {
    "pool": 16,
    "seeds": 8,
    "points": [
        {"aligned": 8, "strength": s, "rotated": turned, "draws": 20, "answers": answers}
        for s, turned, answers in (
            (0.0, False, {"no second tier": 1.0}),
            (0.5, False, {"no second tier": 0.4, "two tiers": 0.35, "undetermined": 0.25}),
            (1.0, False, {"two tiers": 0.9, "a continuum": 0.1}),
            (1.0, True, {"no first tier": 1.0}),
        )
    ],
}
IMAGES: dict[str, Callable[[], Figure]] = {
    "gram": lambda: figure_of("gram", polygons()),
    "tms_intro.dark": lambda: figure_of("tms_intro", polygons(), dark=True),
    "tms_neurons": lambda: figure_of("tms_neurons", neurons()),
    "tms_phase": lambda: figure_of("tms_phase", phases()),
    "power.dark": lambda: making.of_document("power", POWER, dark=True),
}


def drawn(figure: Figure) -> np.ndarray:
    """The pixels of a figure: [height, width, colour] from 0 to 1."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    return matplotlib.image.imread(buffer)[..., :3]


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2))) if one.shape == other.shape else 1.0


@pytest.mark.parametrize("name", IMAGES)
def test_a_figure_looks_as_it_did(name: str) -> None:
    kept = matplotlib.image.imread(HERE / f"{name}.png")[..., :3]
    assert difference(drawn(IMAGES[name]()), kept) < TOLERANCE


def test_another_figure_would_be_told() -> None:
    """A run whose second arm has lost a feature: a spoke less in one of three panels."""
    run = polygons()
    run.weights[2][:, 0] = 0
    kept = matplotlib.image.imread(HERE / "tms_intro.dark.png")[..., :3]
    assert difference(drawn(figure_of("tms_intro", run, dark=True)), kept) > TOLERANCE


def test_the_images_are_few_and_small() -> None:
    assert {path.stem for path in HERE.glob("*.png")} == set(IMAGES)
    assert sum(path.stat().st_size for path in HERE.glob("*.png")) < 300_000


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for each, figure in IMAGES.items():
        matplotlib.image.imsave(HERE / f"{each}.png", drawn(figure()))
