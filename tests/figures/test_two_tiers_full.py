"""two_tiers_full: what the map draws of each cell, on tables whose numbers are set by hand; then that it draws it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from scipy import stats

from toymodels.figures import two_tiers_full
from toymodels.figures.drawing import COLUMN, in_our_style
from toymodels.figures.plane import OTHERS, Cell, Plane, planes
from toymodels.hypotheses.statistics.intervals import StudentInterval
from toymodels.sweeps.errors import FolderError
from toymodels.sweeps.execution.run import run
from toymodels.sweeps.plan.plan import make_plan
from toymodels.sweeps.results.arms import as_python
from toymodels.sweeps.results.reading import Run, load
from toymodels.sweeps.spec.sweep import parse
from toymodels.sweeps.verdict.regimes import WITHIN_REGIME

SWEEP = """
case = [
    { "model.embedding" = 3 },
    {},
    { "model.embedding" = 3, "features.frequency" = { law = "zipf", exponent = 1.0, cap = 0.5 } },
]
[features]
n = 4
values = "binary"
[model]
hidden = 4
tied = false
output = "linear"
[train]
steps = 3
batch = 16
[eval]
samples = 256
[grid]
"features.n" = [4, 8]
"features.density" = [0.1, 0.2]
"model.activation" = ["relu", "gelu", "solu"]
"model.layer_norm" = [false, true]
seed = [0, 1, 2]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("atlas")
    run(make_plan(parse(SWEEP, "tiny", "tiny.toml")), folder, "autograd", "cpu")
    return load(folder)


@pytest.fixture
def by_hand(ran: Run) -> Run:
    """The run with measures that say which model they are of: neurons = 100 a layer + 10 seed^2 + n; substitution .2 in
    an embedding, 0 in none."""
    models = ran.models.copy()
    of_layer = {("relu", False): 1, ("gelu", True): 2, ("solu", True): 4}
    layers = zip(models["model.activation"], models["model.layer_norm"], strict=True)
    layer = np.array([of_layer.get(each, 9) for each in layers])
    models["features_neuron"] = 100.0 * layer + 10 * (layer == 4) * models["seed"] ** 2 + models["features.n"]
    models["features_hidden"] = models["seed"] + 10.0 * models["features.density"]
    models["affine_substitution"] = np.where(models["model.embedding"].notna(), 0.2, 0.0)
    of = load(ran.path)
    of.__dict__["models"] = models
    return of


def cell(plane: Plane, ratio: float, embedding: int | None, density: float) -> Cell:
    (found,) = [
        c for c in plane.cells if (c.features_per_neuron, c.embedding, c.density) == (ratio, embedding, density)
    ]
    return found


def test_a_condition_is_what_other_settings_say_and_the_bottleneck_is_a_size_of_the_embedding(by_hand: Run) -> None:
    found, said = planes(by_hand)
    assert [plane.condition for plane in found] == ["frequency uniform", "frequency zipf"]
    assert [len(plane.cells) for plane in found] == [8, 4]
    assert two_tiers_full.axes_of(found[0]) == ([1.0, 2.0], [3, None], [0.1, 0.2])
    assert said == []


def test_a_cell_has_the_means_of_solu_with_layer_norm(by_hand: Run) -> None:
    found, _ = planes(by_hand)
    of = cell(found[0], 2.0, 3, 0.2)
    assert of.neurons == pytest.approx(400 + 10 * 5 / 3 + 8)
    assert of.hidden == pytest.approx(1 + 2)
    assert of.substitution == pytest.approx(0.2)
    assert of.engaged
    assert not cell(found[0], 2.0, None, 0.2).engaged
    assert of.answer is None


def test_what_it_has_beyond_another_arm_is_paired_by_seed_with_students_interval(by_hand: Run) -> None:
    of = cell(planes(by_hand)[0][0], 1.0, 3, 0.1)
    for name, constant in zip(OTHERS, (200, 300), strict=True):
        difference = constant + 10.0 * np.array([0, 1, 4])
        low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
        interval = of.beyond[name]
        assert interval is not None
        assert (interval.mean, interval.low, interval.high) == pytest.approx((difference.mean(), low, high))


def test_an_arm_that_is_not_there_leaves_its_cells_unknown_and_is_named(by_hand: Run) -> None:
    models = by_hand.models
    models.loc[models["model.activation"] == "relu", "status"] = "diverged"
    by_hand.__dict__["models"] = models[~((models["model.activation"] == "gelu") & models["model.layer_norm"])]
    found, said = planes(by_hand)
    assert said == ["72 models that diverged are left out", "no models of gelu + LN", "every model of relu diverged"]
    assert all(each is None for plane in found for of in plane.cells for each in of.beyond.values())
    squares = two_tiers_full.quantities(found)
    drawn = {name: [of(c) for c in found[0].cells] for name, of in squares.items()}
    assert [all(each is None for each in line) for line in drawn.values()] == [False, True, True, False]
    assert two_tiers_full.tallies(found[0], False)[1:3] == [("", None), ("", None)]


def test_where_every_model_of_solu_with_layer_norm_diverged_a_cell_says_nothing(by_hand: Run) -> None:
    models = by_hand.models
    here = (models["features.n"] == 8) & (models["features.density"] == 0.2) & models["model.embedding"].isna()
    models.loc[here & (models["model.activation"] == "solu") & models["model.layer_norm"], "status"] = "diverged"
    of = cell(planes(by_hand)[0][0], 2.0, None, 0.2)
    assert (of.neurons, of.hidden, of.substitution, of.engaged) == (None, None, None, False)
    assert all(each is None for each in of.beyond.values())


def test_without_solu_with_layer_norm_it_is_refused_in_a_sentence(by_hand: Run) -> None:
    models = by_hand.models
    by_hand.__dict__["models"] = models[models["model.activation"] != "solu"]
    with pytest.raises(FolderError, match=r"is about solu \+ LN, and the run has no trained model of it"):
        planes(by_hand)


# ------------------------------------------------------------------------------------------------------------- verdicts


def judge(of: Run, answer: object) -> None:
    """Set what a verdict says of each regime: ``answer`` of its settings."""
    names = [name for name in of.setting_columns if name not in WITHIN_REGIME]
    each = [{name: as_python(row[name]) for name in names} for row in of.models.to_dict("records")]
    settings = json.loads(json.dumps(list({json.dumps(one): one for one in each}.values())))
    of.__dict__["verdicts"] = {"regimes": [{"settings": one, "answer": answer(one)} for one in settings]}  # type: ignore[operator]


def test_the_answer_of_a_cell_is_that_of_its_regime(by_hand: Run) -> None:
    judge(by_hand, lambda s: "not testable" if s["model.embedding"] is None else f"n {s['features.n']}")
    found, _ = planes(by_hand)
    assert cell(found[0], 1.0, None, 0.1).answer == "not testable"
    assert cell(found[1], 2.0, 3, 0.1).answer == "n 8"
    assert list(two_tiers_full.quantities(found))[-1] == "second tier, by the verdict"


def test_a_regime_that_was_not_judged_has_no_answer(by_hand: Run) -> None:
    judge(by_hand, lambda _: "a continuum")
    regimes = by_hand.verdicts["regimes"]
    by_hand.__dict__["verdicts"] = {"regimes": [r for r in regimes if r["settings"]["features.n"] == 4]}
    found, _ = planes(by_hand)
    assert cell(found[0], 1.0, 3, 0.1).answer == "a continuum"
    assert cell(found[0], 2.0, 3, 0.1).answer is None
    square = list(two_tiers_full.quantities(found).values())[-1]
    assert square(cell(found[0], 2.0, 3, 0.1)) is None


def test_of_a_verdict_of_a_version_without_answers_hidden_features_are_shown(by_hand: Run) -> None:
    by_hand.__dict__["verdicts"] = {"regimes": [{"settings": {}, "overall": "two tiers"}]}
    found, _ = planes(by_hand)
    assert list(two_tiers_full.quantities(found))[-1] == "second tier: hidden features (no verdict yet)"


# -------------------------------------------------------------------------------------------------------------- squares

SURE = StudentInterval(6.0, 4.0, 8.0, 3, 2.0)
UNSURE = StudentInterval(6.0, -1.0, 13.0, 3, 7.0)
FEWER = StudentInterval(-6.0, -8.0, -4.0, 3, 2.0)
CELL = Cell(1.0, 8, 0.1, 0.2, 5.0, 4.0, {"gelu + LN": SURE, "relu": UNSURE}, None)


def test_tallies_count_cells_in_which_the_seeds_agree() -> None:
    plane = Plane(
        "any",
        (
            CELL,
            replace(CELL, substitution=0.01, hidden=2.0),
            replace(CELL, beyond={"gelu + LN": FEWER, "relu": FEWER}, hidden=None),
        ),
    )
    found = two_tiers_full.tallies(plane, False)
    assert [text for text, _ in found] == ["2 of 3", "+2 \N{MINUS SIGN}1", "\N{MINUS SIGN}1", "1 of 2"]
    assert [share for _, share in found] == pytest.approx([2 / 3, 1 / 3, -1 / 3, 1 / 2])
    judged = Plane(
        "any", tuple(replace(CELL, answer=answer) for answer in ("two tiers", "a continuum", "not testable", None))
    )
    assert two_tiers_full.tallies(judged, True)[-1] == ("2 of 3", 2 / 3)


def test_a_square_is_bold_where_the_interval_leaves_out_zero_and_its_colour_has_the_sign() -> None:
    rows = list(two_tiers_full.quantities([Plane("any", (CELL,))]).values())
    sure, unsure = rows[1](CELL), rows[2](CELL)
    fewer = rows[1](replace(CELL, beyond={"gelu + LN": FEWER}))
    assert sure is not None
    assert unsure is not None
    assert fewer is not None
    assert (sure.text, sure.bold) == ("+6", True)
    assert (unsure.text, unsure.bold) == ("+6", False)
    assert (fewer.text, fewer.bold) == ("\N{MINUS SIGN}6", True)
    assert sure.colour == unsure.colour
    assert sure.colour[2] > sure.colour[0]  # violet against orange, which the colour-blind tell apart
    assert fewer.colour[2] < fewer.colour[0]


@pytest.mark.parametrize(
    ("cost", "text"), [(0.31, ".31"), (0.0, ".00"), (-0.02, "-.02"), (1.5, "1.50"), (10.31, "10.31")]
)
def test_what_an_affine_map_costs_is_written_without_a_leading_zero_alone(cost: float, text: str) -> None:
    engaged = next(iter(two_tiers_full.quantities([Plane("any", (CELL,))]).values()))
    square = engaged(replace(CELL, substitution=cost))
    assert square is not None
    assert square.text == text


def test_answers_differ_in_their_marks_and_not_by_colour_alone() -> None:
    marks = [mark for mark, _ in two_tiers_full.ANSWERS.values()]
    assert len(set(marks)) == len(marks)


# -------------------------------------------------------------------------------------------------------------- drawing


def drawn(of: Run) -> Figure:
    with in_our_style():
        figure = two_tiers_full.draw(of)
        FigureCanvasAgg(figure).draw()  # now it is laid out
    return figure


def hatched(figure: Figure) -> int:
    patches = [each for each in figure.findobj(Rectangle) if isinstance(each, Rectangle)]
    return sum(bool(each.get_hatch()) for each in patches)


def test_every_cell_is_a_square_and_missing_ones_are_hatched(by_hand: Run) -> None:
    figure = drawn(by_hand)
    assert hatched(figure) == 0
    strip = figure.findobj(Axes)[-1]
    assert isinstance(strip, Axes)
    assert [label.get_text() for label in strip.get_yticklabels()] == ["as on the map (8)", "frequency zipf (4)"]
    models = by_hand.models
    gone = (models["features.n"] == 8) & (models["features.density"] == 0.2) & models["model.embedding"].isna()
    by_hand.__dict__["models"] = models[~gone]
    assert hatched(drawn(by_hand)) == 4  # one in each row of panels


@pytest.mark.parametrize("part", ["features.n == 8", "model.embedding == 3", "features.density == 0.1", "seed == 0"])
def test_it_draws_any_part_of_the_atlas_within_its_page(by_hand: Run, part: str) -> None:
    by_hand.__dict__["models"] = by_hand.models[by_hand.models.eval(f"`{part.split()[0]}` == {part.split()[2]}")]
    figure = drawn(by_hand)
    assert hatched(figure) == 0
    assert figure.get_figwidth() == COLUMN
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text().strip()]
    ends = [text.get_window_extent() for text in texts if text.get_visible()]
    assert min(box.x0 for box in ends) >= 0
    assert max(box.x1 for box in ends) <= figure.bbox.width


def test_a_plane_too_large_for_a_page_is_refused_in_a_sentence(by_hand: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_tiers_full, "MOST_COLUMNS", 3)
    with pytest.raises(FolderError, match=r"each of 2 x 2 x 2 cells and a line for each of 2 conditions, too many"):
        two_tiers_full.draw(by_hand)


def test_the_figure_says_what_it_shows_and_what_is_missing(by_hand: Run) -> None:
    by_hand.__dict__["models"] = by_hand.models[by_hand.models["model.activation"] != "gelu"]
    assert drawn(by_hand).get_suptitle().replace("\n", " ") == "map: frequency uniform; no models of gelu + LN"
