"""The figures of a run folder, for the page: each as an image that holds all it needs, for light pages and for dark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toymodels import figures
from toymodels.figures.report.packed import in_base64
from toymodels.sweeps.errors import SweepError
from toymodels.sweeps.results.reading import Run
from toymodels.sweeps.store import atomic

KINDS = {"svg": ("image/svg+xml", (b"<?xml", b"<svg")), "png": ("image/png", (b"\x89PNG\r\n\x1a\n",))}
"""By suffix, the type of an image and how its file begins."""
MOST_BYTES = 2**19
"""of a vector image, which is sharp at any size; a larger one gives way to its pixels"""
MOST_PIXELS = 2**22
"""bytes of an image of pixels"""


@dataclass(frozen=True)
class Picture:
    """A figure as ``data:`` addresses."""

    name: str
    light: str
    dark: str | None
    """None where it cannot be drawn so"""


def pictures(run: Run) -> tuple[list[Picture], list[str]]:
    """The figures that have been drawn in the run folder, and a sentence for each that cannot be read.

    What has not been drawn for dark pages, ``<figure>.dark.svg`` or ``.png``, is drawn now and not written.
    """
    shown, problems = [], []
    for name in figures.NAMES:
        light = _image(run.path, name, problems)
        if light is not None:
            shown.append(Picture(name, light, _image(run.path, f"{name}.dark", problems) or _drawn_dark(run, name)))
    return shown, problems


def _drawn_dark(run: Run, name: str) -> str | None:
    from toymodels.figures.making import rendered  # only a page with figures takes matplotlib

    try:
        figure = figures.figure_of(name, run, dark=True)
    except SweepError:  # such as another run's figure, whose light file stands here
        return None
    image = rendered(figure, "svg")
    suffix = "svg" if len(image) <= MOST_BYTES else "png"
    return _address(suffix, image if suffix == "svg" else rendered(figure, suffix))


def _address(suffix: str, image: bytes) -> str:
    return f"data:{KINDS[suffix][0]};base64,{in_base64(image)}"


def _image(folder: Path, stem: str, problems: list[str]) -> str | None:
    """The image of this name, its vectors if these are small, else its pixels; None where there is neither.

    A file that came with somebody else's folder is shown as an image, in which nothing runs, and never followed out of
    the folder: what a link leads to would be sent about with the page.
    """
    said = []
    for suffix, most in (("svg", MOST_BYTES), ("png", MOST_PIXELS)):
        path = folder / f"{stem}.{suffix}"
        try:
            image = atomic.read(path, most)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            said.append(f"{path}: left out ({error.strerror})")
            continue
        if image.startswith(KINDS[suffix][1]):
            return _address(suffix, image)
        said.append(f"{path}: left out (no image)")
    problems += said
    return None
