"""two_tiers_full: the map. Where SoLU + LN has use for its activation, makes neurons, and has a second tier.

A square is a cell of the plane: across density, and features per neuron from panel to panel; down the size of the
embedding. Four rows of panels, of the first condition of the run:

    engaged              the loss fraction that SoLU + LN loses when its activation becomes affine, against .05
    neurons beyond ...   its features of tier neuron minus those of gelu + LN, and of relu, at equal seeds; bold where
                         the 95 % interval over seeds leaves out 0
    second tier          the verdict's answer, where ``toymodels verdict`` has been run; else features of tier hidden

Below, of every condition, in how many of its cells each is so. A cell without models is hatched.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from toymodels.figures.colours import Colour, hue, ink, on, page
from toymodels.figures.drawing import COLUMN
from toymodels.figures.plane import OTHERS, Cell, Plane, judged, planes
from toymodels.hypotheses.statistics.intervals import StudentInterval
from toymodels.hypotheses.tiers import FEWEST_FEATURES
from toymodels.metrics.manipulation import ENGAGED
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.results.reading import Run

ANSWERS = {
    "not testable": ("x", ""),
    "no first tier": ("0", "sky"),
    "no second tier": ("1", "green"),
    "two tiers": ("2", "vermillion"),
    "a continuum": ("~", "orange"),
    "undetermined": ("?", ""),
}
"""What stands in a cell for an answer, and its hue; what says nothing has none."""
BOTH_TIERS = ("two tiers", "a continuum")
"""The answers that say that there are features of either tier. At one LayerNorm eps *two tiers* is no answer."""
MOST_COLUMNS, MOST_ROWS, MOST_CONDITIONS = 18, 10, 30
TITLE_WIDTH = 68


@dataclass(frozen=True)
class Square:
    """What is drawn in a cell: its text, its colour, and whether the text is bold."""

    text: str
    colour: Colour
    bold: bool = False


def draw(run: Run) -> Figure:
    """The map of a run, or of any part of one; raises `FolderError` without SoLU + LN, and for a plane too large."""
    found, said = planes(run)
    rows = quantities(found)
    first = found[0]
    ratios, embeddings, densities = axes_of(first)
    if len(ratios) * len(densities) > MOST_COLUMNS or len(embeddings) > MOST_ROWS or len(found) > MOST_CONDITIONS:
        raise FolderError(
            f"{run.path}: this figure has a square for each of {len(ratios)} x {len(embeddings)} x {len(densities)} "
            f"cells and a line for each of {len(found)} conditions, too many for a page: run a part of the sweep, "
            "with --set or --grid"
        )
    high = 0.3 + 0.17 * len(embeddings)
    strip = 0.45 + 0.16 * len(found)
    figure = Figure(figsize=(COLUMN, 0.9 + len(rows) * high + strip))
    halves = figure.add_gridspec(2, 1, height_ratios=[0.6 + len(rows) * high, strip])
    above, below = (figure.add_subfigure(half) for half in (halves[0], halves[1]))
    grid = above.subplots(len(rows), len(ratios), sharex=True, sharey=True, squeeze=False)
    for line, (name, of) in zip(grid, rows.items(), strict=True):
        for ratio, axis in zip(ratios, line, strict=True):
            cells = {(c.embedding, c.density): c for c in first.cells if c.features_per_neuron == ratio}
            _panel(axis, [[cells.get((d, p)) for p in densities] for d in embeddings], of)
            axis.set_xticks(range(len(densities)), [f"{p:g}" for p in densities], fontsize=6)
            axis.set_yticks(range(len(embeddings)), [d or "none" for d in embeddings], fontsize=6)
        line[0].set_title(" ", fontsize=7)  # keeps the room for what may reach over the panels beside it
        heading = line[0].annotate(name, (0, 1), (0, 4), "axes fraction", textcoords="offset points", fontsize=7)
        heading.set_in_layout(False)
    for ratio, axis in zip(ratios, grid[-1], strict=True):
        axis.set_xlabel(f"density, n/m = {ratio:g}", fontsize=6.5)
    above.supylabel("size of the embedding", fontsize=6.5)
    if judged(found):
        looks = {f"{mark}  {answer}": _answer_colour(answer) for answer, (mark, _) in ANSWERS.items()}
        keys = [Patch(edgecolor=ink(0.6), label=key, facecolor=colour) for key, colour in looks.items()]
        above.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=6, handlelength=1)
    _strip(below.subplots(), found)
    below.supxlabel("of each condition (its cells), in how many cells", fontsize=6.5)
    sentences = "; ".join([f"map: {first.condition}", *said])
    figure.suptitle(textwrap.fill(sentences, TITLE_WIDTH), fontsize=6.5, color=ink(0.7))
    return figure


def axes_of(plane: Plane) -> tuple[list[float], list[int | None], list[float]]:
    """Features per neuron, sizes of the embedding (the bottleneck last) and densities, each in rising order."""
    sizes = sorted({cell.embedding for cell in plane.cells}, key=lambda d: (d is None, d or 0))
    ratios = sorted({cell.features_per_neuron for cell in plane.cells})
    return ratios, sizes, sorted({cell.density for cell in plane.cells})


# ---------------------------------------------------------------------------------------------------------- the squares


def quantities(found: Sequence[Plane]) -> dict[str, Callable[[Cell], Square | None]]:
    """What each row of panels draws of a cell, by its title; None of a cell of which nothing is known."""
    cells = found[0].cells
    most = max([1.0, *(abs(i.mean) for c in cells for i in c.beyond.values() if i is not None)])
    hidden = max([1.0, *(c.hidden for c in cells if c.hidden is not None)])
    limit = f"{ENGAGED:g}".removeprefix("0")
    rows: dict[str, Callable[[Cell], Square | None]] = {f"engaged: what an affine map costs (above {limit})": _engaged}
    for other in OTHERS:
        heading = f"neurons beyond {other} (bold: sure at 95 %)"
        rows[heading] = lambda cell, other=other: _beyond(cell.beyond[other], most)
    if judged(list(found)):
        return rows | {"second tier, by the verdict": _answer}
    return rows | {"second tier: hidden features (no verdict yet)": lambda cell: _hidden(cell, hidden)}


def _engaged(cell: Cell) -> Square | None:
    if cell.substitution is None:
        return None
    shade = colormaps["PuOr"](TwoSlopeNorm(ENGAGED, ENGAGED - 0.3, ENGAGED + 0.3)(cell.substitution))
    number = f"{cell.substitution:.2f}".removeprefix("0").replace("-0.", "-.")
    return Square(number, shade[:3], bold=cell.engaged)


def _beyond(difference: StudentInterval | None, most: float) -> Square | None:
    if difference is None:
        return None
    shade = colormaps["PuOr"](Normalize(-most, most)(difference.mean))
    number = f"{difference.mean:+.0f}".replace("-", "\N{MINUS SIGN}")
    return Square("0" if number[1:] == "0" else number, shade[:3], bold=_sign(difference) != 0)


def _answer(cell: Cell) -> Square | None:
    if cell.answer is None:
        return None
    return Square(ANSWERS.get(cell.answer, (cell.answer, ""))[0], _answer_colour(cell.answer))


def _answer_colour(answer: str) -> Colour:
    name = ANSWERS.get(answer, ("", ""))[1]
    return hue(name) if name else ink(0.2) if answer == "not testable" else page()


def _hidden(cell: Cell, most: float) -> Square | None:
    if cell.hidden is None:
        return None
    return Square(
        f"{cell.hidden:.0f}", colormaps["Greens"](0.8 * cell.hidden / most)[:3], bold=cell.hidden >= FEWEST_FEATURES
    )


def _sign(difference: StudentInterval) -> int:
    """1 where the interval lies above 0, -1 where it lies below, else 0."""
    return int(difference.low > 0) - int(difference.high < 0)


# ------------------------------------------------------------------------------------------------------------ the strip


def tallies(plane: Plane, verdict: bool) -> list[tuple[str, float | None]]:
    """In how many cells of a condition each is so: the text of the count, and its share from -1 to 1 of the cells of
    which it is known, None where it is known of none."""
    cells = plane.cells
    engaged = [cell.engaged for cell in cells if cell.substitution is not None]
    found: list[tuple[str, float | None]] = [_tally(engaged)]
    for other in OTHERS:
        signs = [_sign(i) for cell in cells if (i := cell.beyond[other]) is not None]
        more, fewer = signs.count(1), signs.count(-1)
        text = f"+{more}" * (more > 0) + f" \N{MINUS SIGN}{fewer}" * (fewer > 0) or "0"
        found.append((text.strip() if signs else "", (more - fewer) / len(signs) if signs else None))
    if verdict:
        return [*found, _tally([cell.answer in BOTH_TIERS for cell in cells if cell.answer is not None])]
    return [*found, _tally([cell.hidden >= FEWEST_FEATURES for cell in cells if cell.hidden is not None])]


def _tally(each: list[bool]) -> tuple[str, float | None]:
    return (f"{sum(each)} of {len(each)}", sum(each) / len(each)) if each else ("", None)


def _strip(axis: Axes, found: Sequence[Plane]) -> None:
    """A line a condition: in how many of its cells each is so."""
    verdict = judged(list(found))
    columns = [
        "engaged",
        *(f"beyond\n{other}" for other in OTHERS),
        "both tiers" if verdict else f"{FEWEST_FEATURES} hidden",
    ]
    squares = [
        [
            None if share is None else Square(text, colormaps["PuOr"](Normalize(-1.4, 1.4)(share))[:3])
            for text, share in tallies(plane, verdict)
        ]
        for plane in found
    ]
    _squares(axis, squares)
    axis.set_xticks(range(len(columns)), columns, fontsize=6)
    axis.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    names = ["as on the map", *(textwrap.shorten(plane.condition, 42, placeholder=" ...") for plane in found[1:])]
    names = [f"{name} ({len(plane.cells)})" for name, plane in zip(names, found, strict=True)]
    axis.set_yticks(range(len(found)), names, fontsize=6)


def _panel(axis: Axes, cells: list[list[Cell | None]], of: Callable[[Cell], Square | None]) -> None:
    _squares(axis, [[None if cell is None else of(cell) for cell in line] for line in cells])


def _squares(axis: Axes, squares: list[list[Square | None]]) -> None:
    """Squares with their texts, the first line uppermost; hatched where there is none."""
    for y, line in enumerate(squares):
        for x, square in enumerate(line):
            patch = Rectangle((x - 0.5, y - 0.5), 1, 1, edgecolor=ink(0.25), linewidth=0.4, facecolor=page())
            axis.add_patch(patch)
            if square is None:
                patch.set_hatch("/////")
            else:
                patch.set_facecolor(square.colour)
                weight = "bold" if square.bold else "normal"
                axis.text(
                    x, y, square.text, ha="center", va="center", fontsize=6, color=on(square.colour), weight=weight
                )
    axis.set(xlim=(-0.5, len(squares[0]) - 0.5), ylim=(len(squares) - 0.5, -0.5))
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
